import io
import json
import random

import numpy as np
import pytest
from PIL import Image

from memefly import text
from memefly.datasets import sample


def test_same_arguments_same_bytes(tmp_path):
    for name in ("a", "b"):
        sample.generate(tmp_path / name, images=6, seed=4)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    sample.generate(tmp_path / "c", images=6, seed=5)
    assert (tmp_path / "a" / files[0]).read_bytes() != (tmp_path / "c" / files[0]).read_bytes()


def test_more_pictures_only_add(tmp_path):
    sample.generate(tmp_path / "few", images=3)
    sample.generate(tmp_path / "more", images=5)
    few, more = ((tmp_path / n / "captions.jsonl").read_text() for n in ("few", "more"))
    assert more.startswith(few)


def test_captions_name_only_what_is_there(tmp_path):
    sample.generate(tmp_path / "s", images=80)
    vocabulary = {
        "character": set(sample.CHARACTERS), "colour": set(sample.COLOURS), "mood": set(sample.MOODS),
        "prop": set(sample.PROPS), "place": set(sample.PLACES), "background": set(sample.BACKGROUNDS),
    }  # fmt: skip
    for line in (tmp_path / "s" / "captions.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert len(set(record["captions"])) == 5
        for caption in record["captions"]:
            words = set(text.tokenize(caption))
            assert record["scene"]["character"] in words
            for attribute, names in vocabulary.items():
                assert words & names <= {record["scene"][attribute]}, caption


def test_there_is_enough_to_tell_apart():
    assert len(sample.CHARACTERS) >= 8
    assert all(len(colours) >= 2 for colours in sample.CHARACTERS.values())


@pytest.mark.parametrize("attribute", ["character", "colour", "mood", "prop", "place", "background"])
def test_every_attribute_is_drawn(attribute):
    """Two scenes that differ in one thing differ in the picture."""
    options = {
        "character": sample.CHARACTERS, "colour": sample.COLOURS, "mood": sample.MOODS, "prop": sample.PROPS,
        "place": sample.PLACES, "background": sample.BACKGROUNDS,
    }  # fmt: skip
    base = {"character": "cat", "colour": "orange", "mood": "happy", "prop": "pizza", "place": "middle"}
    pictures = []
    for option in options[attribute]:
        scene = sample.Scene(**{**base, "background": "city", attribute: option})
        data = sample.render(scene, random.Random(0))
        pictures.append(np.asarray(Image.open(io.BytesIO(data)), dtype=int))
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert (np.abs(a - b).max(axis=-1) > 30).mean() > 0.003
