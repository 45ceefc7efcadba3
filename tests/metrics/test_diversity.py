import random

import numpy as np
import pytest

from memefly.metrics import bleu, diversity, novelty, self_bleu


def cut(*captions):
    return [c.split() for c in captions]


def test_counts_by_hand():
    found = diversity(cut("a cat", "a dog", "a cat", "a dog runs"))
    assert found == {
        "distinct_captions": 3,
        "distinct_share": 0.75,
        "distinct_1": 4 / 9,
        "distinct_2": 3 / 5,
        "vocabulary": 4,
        "length": 9 / 4,
    }
    assert set(diversity([]).values()) == {0}


def test_self_bleu_is_bleu_against_the_others():
    """Where all others are drawn, it can be had the long way."""
    captions = cut("a dog runs in the snow", "a dog runs in the deep snow", "two men on a red boat", "a cat")
    others = [[c for j, c in enumerate(captions) if j != i] for i in range(len(captions))]
    assert self_bleu(captions) == pytest.approx(bleu(others, captions)["bleu4"], abs=1e-12)


def test_self_bleu_tells_parrots():
    words, drawer = [*"abcdefghijklmnop"], random.Random(0)
    varied = [drawer.sample(words, 6) for _ in range(80)]
    parrot = [varied[0]] * 80
    assert self_bleu(parrot) == pytest.approx(1.0, abs=1e-6) and self_bleu(varied) < 0.2
    assert self_bleu(varied) == self_bleu(varied), "the same draws each time"
    # With the number of references fixed, so is what is expected of more captions.
    more = [drawer.sample(words, 6) for _ in range(400)]
    assert self_bleu(more, references=10) == pytest.approx(self_bleu(varied, references=10), abs=0.05)
    assert self_bleu(varied[:1]) == 0.0 and self_bleu([]) == 0.0


def test_novelty_finds_the_nearest():
    training = cut("a dog runs in the snow", "a man on a red boat", "a cat sleeps", "a man on a red boat")
    found = novelty(cut("a dog runs in deep snow", "a cat sleeps", "zebras", "a man on a boat"), training)
    assert found.nearest[0] == "a dog runs in the snow" and found.nearest[3] == "a man on a red boat"
    # 6 words and 5 pairs each; "a dog runs in" and "snow", "a dog", "dog runs", "runs in" are common to them.
    assert found.similarity[0] == pytest.approx(2 * 8 / 22)
    assert found.copied.tolist() == [False, True, False, False]
    assert found.similarity[1] == pytest.approx(1.0) and found.similarity[2] == 0.0
    assert found.score() == {
        "copied_share": 0.25,
        "near_copied_share": 0.25,
        "nearest_similarity": pytest.approx(float(np.mean(found.similarity))),
    }


def test_a_copy_is_its_own_nearest():
    """The same words and pairs can make another caption."""
    one, other = "a b a c a b", "a c a b a c"
    for training in (cut(one, other), cut(other, one)):
        assert novelty(cut(one), training).nearest == [one]


def test_what_cannot_be():
    with pytest.raises(ValueError, match="needs the captions of training"):
        novelty(cut("a"), [])
    assert novelty([], cut("a")).score() == dict.fromkeys(
        ("copied_share", "near_copied_share", "nearest_similarity"), 0.0
    )
