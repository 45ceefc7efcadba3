import random

import pytest

from memefly.metrics import best_constant_caption, bleu

WORDS = ["a", "the", "cat", "dog", "man", "runs", "sits", "on", "red"]


def references(seed: int, pictures: int = 12) -> list[list[list[str]]]:
    rng = random.Random(seed)
    return [
        [[rng.choice(WORDS) for _ in range(rng.randint(1, 8))] for _ in range(rng.randint(1, 4))]
        for _ in range(pictures)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_is_what_trying_every_caption_finds(seed):
    groups = references(seed)
    every = {tuple(r) for group in groups for r in group}
    expected = max(bleu(groups, [list(c)] * len(groups))["bleu4"] for c in every)
    caption, value = best_constant_caption(groups)
    assert value == pytest.approx(expected, rel=1e-12)
    assert bleu(groups, [caption.split()] * len(groups))["bleu4"] == pytest.approx(value, rel=1e-12)


def test_further_candidates_are_tried_too():
    groups = [[["a", "v"]], [["a", "w"]], [["b", "x"]], [["b", "y"]]]
    assert best_constant_caption(groups, order=1)[1] == pytest.approx(3 / 8)
    caption, value = best_constant_caption(groups, candidates=[["a", "b"]], order=1)
    assert caption == "a b"
    assert value == pytest.approx(4 / 8)


def test_a_captioner_of_one_sentence_gains_nothing():
    groups = references(3)
    said = ["a", "man", "on", "a", "red", "dog"]
    _, constant = best_constant_caption(groups, candidates=[said])
    assert bleu(groups, [said] * len(groups))["bleu4"] <= constant


def test_nothing_to_say():
    assert best_constant_caption([]) == ("", 0.0)
