import base64
import io

import numpy as np
import pytest
from PIL import Image

from memefly.metrics import NoveltyIndex
from memefly.report import gallery

SAID = [
    {"image_id": i, "source": f"{i}.png", "group": "", "references": references, "caption": caption}
    for i, references, caption in (
        ("a", ["a red dog runs", "a dog"], "a red dog runs"),
        ("b", ["two cats sleep"], "a red bus"),
        ("c", ["the blue sea"], "the sea"),
        ("d", ["a man eats"], "a man eats"),
    )
]
LIVE = ["a dog", "two cats sleep", "the sea", "a woman"]


def with_live():
    return gallery.score([{**one, "live": live} for one, live in zip(SAID, LIVE)])


def test_scores_and_the_nearest_of_training():
    scored = gallery.score(SAID, NoveltyIndex([["a", "red", "dog", "runs"], ["the", "sea", "is", "blue"]]))
    assert [s.image_id for s in scored] == ["a", "b", "c", "d"]
    assert scored[0].cider > scored[2].cider > scored[1].cider == 0
    assert (scored[0].copied, scored[0].similarity) == (True, 1.0)
    assert scored[2].nearest == "the sea is blue" and not scored[2].copied
    assert scored[0].live is None and scored[0].change == 0


def test_what_is_chosen_and_why():
    scored = with_live()
    shown = gallery.choose(scored, 4)
    tags = {one.image_id: set(one.tags) for one in shown}
    assert "worst" in tags["b"] and "worse" in tags["b"], "it lost what the live model had"
    assert "better" in tags["d"]
    assert len(gallery.choose(with_live(), 2)) == 2
    assert len(gallery.choose(with_live(), 99)) == 4


def test_the_plane_of_the_features():
    drawer = np.random.default_rng(0)
    left, right = drawer.normal(0, 0.1, (5, 2, 2, 7)), drawer.normal(3, 0.1, (5, 2, 2, 7))
    places = gallery.project([*left, *right])
    assert places.shape == (10, 2) and places.min() == 0 and places.max() == 1
    gap = abs(places[:5, 0].mean() - places[5:, 0].mean())
    assert gap > 0.8, "what differs most lies along the first axis"
    assert np.array_equal(places, gallery.project([*left, *right]))
    assert gallery.project([left[0]]).shape == (1, 2)


def png(size=(640, 480)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 200, 200)).save(out, "PNG")
    return out.getvalue()


def test_thumbnails_and_overlays():
    assert Image.open(io.BytesIO(gallery.thumbnail(png()))).size == (320, 240)
    assert Image.open(io.BytesIO(gallery.thumbnail(png((20, 30))))).size == (20, 30)
    picture = Image.open(io.BytesIO(gallery.thumbnail(png())))
    for kind, most in ((np.float32, 0.4), (np.uint8, 255)):
        alphas = np.zeros((2, 2), kind)
        alphas[0, 1] = most
        light = np.asarray(gallery.overlay(picture, alphas).convert("L"), np.int32)
        assert light[10, -10] > 190 and light[-10, 10] < 60, "light where the model looked"


@pytest.mark.once
@pytest.mark.slow
def test_built_with_a_model(exported, pictures):
    """Words and maps belong together; maps peak at 255."""
    from memefly.exported import loading

    pictures = pictures[:3]
    shown = gallery.score(
        [
            {"image_id": str(i), "source": "", "group": "", "references": ["a cat"], "caption": "a cat"}
            for i in range(len(pictures))
        ]
    )
    built = gallery.build(
        loading.load(exported), shown, {str(i): data for i, data in enumerate(pictures)}, batch_size=2
    )
    assert len(built) == len(pictures)
    for one in built:
        assert one["words"] and len(one["attention"]) == len(one["words"])
        for encoded in one["attention"]:
            assert np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(one["grid"]).max() == 255
        assert " ".join(one["words"]) == one["captions"][0]["text"]
