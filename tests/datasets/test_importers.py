import json
import shutil

import pytest

from memefly.datasets import flickr8k, memefly, records
from memefly.errors import DataError


@pytest.fixture
def flickr(tmp_path):
    source = tmp_path / "flickr"
    (source / "Flicker8k_Dataset").mkdir(parents=True)
    names = [f"{i}_abc.jpg" for i in range(60)]
    for name in names:
        (source / "Flicker8k_Dataset" / name).write_bytes(name.encode())
    (source / "Flickr8k.token.txt").write_text(
        "".join(f"{name}#{k}\tA dog , number {k} , runs .\n" for name in names for k in range(5))
    )
    (source / "Flickr_8k.trainImages.txt").write_text("\n".join(names[:40]))
    (source / "Flickr_8k.devImages.txt").write_text("\n".join(names[40:55]) + "\n")
    (source / "Flickr_8k.testImages.txt").write_text("\n".join(names[55:]))
    return source


def sides(out) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in records.read_lines(out):
        record = records.parse(line)
        assert (out / record.image).is_file()
        found.setdefault(record.split, set()).add(record.image)
    return found


def test_flickr8k_keeps_the_official_parts(flickr, tmp_path):
    written = flickr8k.convert(flickr, tmp_path / "out")
    assert (written.pictures, written.captions) == (60, 300)
    found = sides(tmp_path / "out")
    assert len(found["train"] | found["val"]) == 40 and 1 <= len(found["val"]) <= 12
    assert len(found["eval"]) == 15 and len(found["test"]) == 5
    assert not found["train"] & found["val"]


def test_flickr8k_limit(flickr, tmp_path):
    assert flickr8k.convert(flickr, tmp_path / "out", limit=20).pictures == 20
    assert {"train", "eval"} <= set(sides(tmp_path / "out"))


def test_flickr8k_with_less_kept_apart(flickr, tmp_path):
    found = {}
    for val in (0.1, 0.4):
        flickr8k.convert(flickr, tmp_path / str(val), val=val)
        found[val] = sides(tmp_path / str(val))
    assert found[0.1]["val"] < found[0.4]["val"], "what a smaller val keeps apart, a larger one does too"
    assert found[0.1]["train"] | found[0.1]["val"] == found[0.4]["train"] | found[0.4]["val"]
    assert found[0.1]["eval"] == found[0.4]["eval"]
    with pytest.raises(DataError, match="above 0 and below 1; got 1"):
        flickr8k.convert(flickr, tmp_path / "all", val=1.0)


def test_flickr8k_says_what_is_missing(flickr, tmp_path):
    (flickr / "Flickr8k.token.txt").unlink()
    shutil.rmtree(flickr / "Flicker8k_Dataset")
    with pytest.raises(DataError, match=r"lacks Flickr8k.token.txt; a folder of pictures"):
        flickr8k.convert(flickr, tmp_path / "out")


def test_flickr8k_with_a_broken_line(flickr, tmp_path):
    with (flickr / "Flickr8k.token.txt").open("a") as file:
        file.write("no tab here\n")
    with pytest.raises(DataError, match="line 301: expected"):
        flickr8k.convert(flickr, tmp_path / "out")


def test_real_flickr8k(shared_data, tmp_path):
    written = flickr8k.convert(shared_data / "flickr8k", tmp_path / "out", limit=50)
    assert (written.pictures, written.captions) == (50, 250)


@pytest.fixture
def meme_file(tmp_path):
    source = tmp_path / "memes"
    (source / "images").mkdir(parents=True)
    memes = []
    for name in ("fry", "doge"):
        (source / "images" / f"{name}.jpg").write_bytes(name.encode())
        text = [f"not sure if {name} or joke number {i}" for i in range(80)]
        memes.append({"meme_id": 1, "meme_name": name, "meme_url": f"images/{name}.jpg", "meme_text": text})
    (source / "memes.json").write_text(json.dumps(memes))
    return source


def test_memes_part_captions_not_pictures(meme_file, tmp_path):
    written = memefly.convert(meme_file, tmp_path / "out")
    assert (written.pictures, written.captions) == (2, 160)
    parsed = [records.parse(line) for line in records.read_lines(tmp_path / "out")]
    assert {(r.group, r.split) for r in parsed} == {(g, s) for g in ("fry", "doge") for s in records.SPLITS}
    for group in ("fry", "doge"):
        captions = [c for r in parsed if r.group == group for c in r.captions]
        assert len(captions) == len(set(captions)) == 80


def test_memes_with_remote_pictures_say_what_to_do(meme_file, tmp_path):
    content = (meme_file / "memes.json").read_text().replace("images/fry", "https://example.org/fry")
    (meme_file / "memes.json").write_text(content)
    with pytest.raises(DataError, match="Download the pictures"):
        memefly.convert(meme_file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_memes_of_another_form(meme_file, tmp_path):
    (meme_file / "memes.json").write_text('[{"name": "fry"}]')
    with pytest.raises(DataError, match="template 0: no 'meme_name'"):
        memefly.convert(meme_file, tmp_path / "out")


def test_real_memes(shared_data, tmp_path):
    written = memefly.convert(shared_data / "memes", tmp_path / "out")
    assert (written.pictures, written.captions) == (96, 13303)
