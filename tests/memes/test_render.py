"""Memes as they look: held against pictures in `golden/`, which `python tests/memes/test_render.py` draws anew."""

import io
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from memefly.datasets import sample
from memefly.errors import PictureError
from memefly.memes import render as rendering
from memefly.memes.render import MAX_TEXT, render
from memefly.memes.template import BOXES, Box, Style

pytestmark = pytest.mark.once

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Style(upper=False, colour="black", outline="none", font="sans")
SIGNS = (
    Box(x=0.5, y=0, width=0.5, height=0.5, angle=12),
    Box(x=0.05, y=0.55, width=0.4, height=0.4, style=PLAIN, align="left", anchor="top"),
)
CASES = {
    "latin": (["one does not simply", "walk into mordor 😂"], BOXES, True),
    "scripts": (["Ελλάδα, привет! नमस्ते", "我们今天去吃饭吧，好吗？あなた 한국어"], BOXES, False),
    "rightwards": (["مرحبا بكم في العالم 123 😂", "שלום עולם, this is (fine)"], BOXES, False),
    "boxes": (["turned around", "left, black, and not in capitals"], SIGNS, False),
    "long": (["WWWW WWWW " * 49, "short"], BOXES, False),
}


def scene(seed: int = 3) -> bytes:
    rng = random.Random(seed)
    return sample.render(sample.draw_scene(rng), rng)


def drawn(name: str):
    texts, boxes, mark = CASES[name]
    return render(scene(), texts, boxes, size=320, mark=mark)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def encoded(image: Image.Image, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, **how)
    return out.getvalue()


@pytest.mark.parametrize("name", CASES)
def test_it_looks_as_it_should(name):
    meme = drawn(name)
    assert (meme.format, meme.width, meme.height, meme.frames) == ("png", 320, 320, 1)
    apart = np.abs(pixels(meme.data) - pixels((GOLDEN / f"{name}.png").read_bytes())).max(axis=2)
    assert (apart > 48).mean() < 0.005, f"{(apart > 48).mean():.2%} of the pixels differ"


def test_what_is_written_is_told():
    upper, lower = drawn("long").written
    assert upper.shortened and upper.lines > 2 and not lower.shortened and lower.lines == 1
    assert lower.size > upper.size >= 9 and 0.6 < upper.filled <= 1
    odd, nothing = render(scene(), ["aᚠb", ""]).written
    assert odd.left_out == "ᚠ" and odd.size > 0 and (nothing.size, nothing.lines) == (0, 0)


def test_it_stays_in_its_box():
    """All that a text changes lies in its box, however long it is."""
    picture = encoded(Image.new("RGB", (400, 300), (120, 130, 140)), format="PNG")
    box = Box(x=0.25, y=0.3, width=0.5, height=0.3)
    for text in ("why", "one two three four five six seven", "A" * 90, "شكرا جزيلا لكم جميعا"):
        changed = np.abs(pixels(render(picture, [text], [box]).data) - (120, 130, 140)).max(axis=2) > 0
        rows, columns = np.nonzero(changed)
        assert rows.min() >= 90 and rows.max() < 180 and columns.min() >= 100 and columns.max() < 300


def test_the_mark_can_be_turned_off_and_covers_no_word():
    plain, marked = (pixels(render(scene(), [""], size=480, mark=mark).data) for mark in (False, True))
    rows, columns = np.nonzero(np.abs(plain - marked).max(axis=2))
    assert rows.min() > 0.95 * 480 and columns.min() > 240
    with_words = pixels(render(scene(), ["", "some words below"], size=480).data)
    both = pixels(render(scene(), ["", "some words below"], size=480, mark=True).data)
    assert np.abs(both - marked).max(axis=2)[rows.min() :].max() == 0 and np.abs(with_words - plain).max() > 0


@pytest.mark.parametrize("format", rendering.FORMATS)
def test_formats_and_sizes(format):
    meme = render(scene(), ["a", "b"], format=format, size=200)
    with Image.open(io.BytesIO(meme.data)) as image:
        assert (image.format.lower(), image.size) == (format, (200, 200))
    assert meme.media_type == f"image/{format}"


def test_as_the_picture_was():
    photograph = Image.effect_noise((300, 200), 30).convert("RGB")
    for format in ("jpeg", "webp"):
        assert render(encoded(photograph, format=format), ["a"]).format == format
    assert render(encoded(photograph, format="BMP"), ["a"]).format == "png"
    meme = render(encoded(photograph, format="JPEG"), ["a"], size=64)
    assert (meme.width, meme.height) == (64, 43)
    assert render(encoded(Image.new("RGB", (9, 6)), format="PNG"), ["a"]).width == 64


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animations_keep_moving(format):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = [Image.new("RGB", (160, 120), colour) for colour in colours]
    moving = encoded(
        frames[0], format=format, save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=2
    )
    meme = render(moving, ["", "moving"])
    assert (meme.format, meme.frames) == (format.lower(), 3)
    with Image.open(io.BytesIO(meme.data)) as image:
        durations = []
        for i, colour in enumerate(colours):
            image.seek(i)
            image.load()
            durations.append(image.info["duration"])
            whole = np.asarray(image.convert("RGB"), np.int16)
            assert np.abs(whole[:60] - colour).max() <= 12 and (whole[80:] > 240).all(axis=2).any()
        assert durations == [100, 200, 300] and image.info.get("loop") == 2
    still = render(moving, ["still"], format="jpeg")
    assert still.frames == 1 and np.abs(pixels(still.data)[100:] - colours[0]).max() < 40


def test_nothing_of_the_file_but_its_pixels_is_in_a_meme():
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "SECRET PLACE", 6
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "SECRET PLACE")
    noise = Image.effect_noise((200, 100), 30).convert("RGB")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for how in (
        {"format": "JPEG", "exif": exif, "comment": b"SECRET PLACE", "icc_profile": profile},
        {"format": "WEBP", "exif": exif, "xmp": b"SECRET PLACE"},
        {"format": "PNG", "exif": exif, "pnginfo": info},
    ):
        data = encoded(noise, **how)
        assert b"SECRET" in data
        meme = render(data, ["a"])
        assert (meme.width, meme.height) == (100, 200), "upright, as the camera was held"
        assert b"SECRET" not in meme.data
        with Image.open(io.BytesIO(meme.data)) as image:
            image.load()
            assert not image.getexif() and not {"icc_profile", "comment", "xmp", "exif"} & set(image.info)


def test_bad_pictures_and_wrong_use():
    for data, reason in ((b"", "empty_file"), (b"no picture", "not_a_picture"), (scene()[:4000], "truncated")):
        with pytest.raises(PictureError) as told:
            render(data, ["a"])
        assert told.value.reason == reason
    large = encoded(Image.new("1", (9000, 9000)), format="PNG")
    with pytest.raises(PictureError) as told:
        render(large, ["a"])
    assert told.value.reason == "too_large"
    many = [Image.new("L", (4, 4), i % 256) for i in range(rendering.MAX_FRAMES + 1)]
    with pytest.raises(PictureError, match="301 frames"):
        render(encoded(many[0], format="GIF", save_all=True, append_images=many[1:]), ["a"])
    with pytest.raises(ValueError, match="3 texts for 2 boxes"):
        render(scene(), ["a", "b", "c"])
    with pytest.raises(ValueError, match="a box takes 500"):
        render(scene(), ["a" * (MAX_TEXT + 1)])
    with pytest.raises(ValueError, match="a size from 64 to 4096"):
        render(scene(), ["a"], size=5000)
    with pytest.raises(ValueError, match="expected a format among png"):
        render(scene(), ["a"], format="svg")


def test_a_fault_of_ours_is_not_told_as_the_picture_s(monkeypatch):
    def broken(*arguments, **how):
        raise OSError("no such font")

    monkeypatch.setattr(rendering.typeset, "fit", broken)
    with pytest.raises(OSError, match="no such font"):
        rendering.render_apart(scene(), ["a"], [BOXES[0].model_dump()], "png", 200, False, 88, 10_000_000)


def test_a_fault_in_the_process_apart_is_a_fault(monkeypatch):
    broken = rendering.Sandbox("json:loads")  # no picture is JSON
    monkeypatch.setattr(rendering, "_SANDBOX", broken)
    with pytest.raises(RuntimeError, match="a fault in json:loads"):
        render(scene(), ["a"])
    broken.close()


def test_a_picture_that_is_too_narrow_for_the_mark_goes_without_it():
    narrow = encoded(Image.new("RGB", (4, 60), (9, 9, 9)), format="PNG")
    plain, marked = (pixels(render(narrow, [], mark=mark).data) for mark in (False, True))
    assert (plain == marked).all()


def test_an_animation_that_breaks_off_shows_what_is_before():
    frames = [Image.effect_noise((60, 40), 10 + 30 * i).convert("RGB") for i in range(4)]
    moving = encoded(frames[0], format="PNG", save_all=True, append_images=frames[1:])
    broken = bytearray(moving)
    broken[int(len(moving) * 0.9)] ^= 255
    assert 1 <= render(bytes(broken), ["a"]).frames < 4


def test_alt_text():
    assert drawn("latin").alt == "Meme: one does not simply / walk into mordor 😂"
    assert render(scene(), ["a\nb", ""], name="Drake").alt == "Meme “Drake”: a b"
    assert rendering.alt_text(["", ""]) == "Meme"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in sys.argv[1:] or CASES:
        (GOLDEN / f"{case}.png").write_bytes(drawn(case).data)
