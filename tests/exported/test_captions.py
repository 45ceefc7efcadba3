"""Captions that a model found and that are not shown: what only a whole text shows."""

import pytest

from memefly.errors import ConfigError
from memefly.exported.captions import Caption, reader


def longer_than_twenty(text: str) -> float:
    return float(len(text) > 20)


def read(safety: dict | None, *captions: str) -> list[str]:
    found = reader({"config": {"safety": safety}})([c.encode() for c in captions], [-0.5] * len(captions))
    return [caption.text for caption in found]


def test_places_without_a_caption_are_left_out():
    assert reader({"config": {}})([b"a cat\non a mat", b""], [-0.5, -1e9]) == [Caption("a cat\non a mat", -0.5)]
    assert reader({"config": {}})([b"a cat\non a mat"], [-0.5])[0].boxes == ["a cat", "on a mat"]


def test_data_of_persons_over_several_words_are_not_said():
    said = ("call me\n202 - 555 - 0143", "a cat", "write to\na.b@example.com")
    assert read(None, *said) == read({"categories": ["hate"]}, *said) == list(said)
    assert read({"categories": ["personal"]}, *said) == ["a cat"]


def test_a_phrase_that_punctuation_parts_is_not_said():
    assert read({"block": ["walk in"]}, "walk , in", "walk\nin", "walked in") == ["walked in"]


def test_a_scorer_is_asked_of_what_is_said():
    said = ("a cat", "a cat that is on its mat", "a dog")
    assert read({"scorer": f"{__name__}:longer_than_twenty"}, *said) == ["a cat", "a dog"]
    assert read({"scorer": f"{__name__}:longer_than_twenty", "threshold": 1.0}, *said) == ["a cat", "a dog"]
    with pytest.raises(ConfigError, match=r"safety\.scorer: expected MODULE:FUNCTION .* got 'nobody:"):
        reader({"config": {"safety": {"scorer": "nobody:nothing"}}})


def test_there_may_be_nothing_left():
    assert read({"block": ["cat*"]}, "a cat", "cats") == []
