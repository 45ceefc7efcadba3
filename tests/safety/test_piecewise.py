"""Blocked words and phrases that are said in pieces."""

import itertools

import numpy as np
import pytest

from memefly import text
from memefly.safety import SafetyConfig
from memefly.safety.config import LISTED
from memefly.safety.piecewise import constrain_pieces
from memefly.safety.words import WordLists
from memefly.spelling import BREAK, Spelling
from memefly.subwords import learn

LISTS = WordLists({"x": ["zorg", "walk in", "in the woods", "grr*"]}, allowed=["grreat"])
SPELLING = Spelling(breaks=True, punctuation="keep")
COUNTS = dict.fromkeys(
    ("zorgon", "walking", "in", "the", "woods", "grrowl", "grreat", "ing", "zo", ",", "!", "walk"), 5
)


@pytest.fixture(scope="module")
def vocabulary():
    return text.Vocabulary([*text.reserved_tokens(SPELLING), *learn(COUNTS, 150)])


@pytest.fixture(scope="module")
def blocked(vocabulary):
    return constrain_pieces(vocabulary.words, LISTS)


def may_be_said(blocked, vocabulary, pieces) -> bool:
    """Whether the automaton lets a caption of these pieces come to its end."""
    state = 0
    for piece in (*pieces, text.END):
        i = vocabulary.words.index(piece)
        if blocked.open[state] and not piece.startswith("##"):
            return False
        kind = blocked.kinds[i]
        if blocked.forbidden[state, kind]:
            return False
        state = blocked.follows[state, kind]
    return True


def cuts(word: str, vocabulary) -> list[list[str]]:
    """All ways to say a word in pieces."""
    found = []
    for n in range(len(word)):
        for places in itertools.combinations(range(1, len(word)), n):
            bounds = [0, *places, len(word)]
            parts = [("##" if a else "") + word[a:b] for a, b in itertools.pairwise(bounds)]
            if set(parts) <= set(vocabulary.words):
                found.append(parts)
    return found


@pytest.mark.parametrize(
    "caption",
    ["zorg", "z0rg", "zorg's", "the zorg", "walk in", "walk , in", f"walk {BREAK} in", "w4lk in",
     "walk in the", "in in the woods", "grrowl", "grr", "gr33t grrr", "walk zorg"],
)  # fmt: skip
def test_however_it_is_cut_it_is_not_said(blocked, vocabulary, caption):
    words = [[[w]] if w == BREAK else cuts(w, vocabulary) for w in caption.split()]
    assert all(words)
    for parts in itertools.product(*words):
        assert not may_be_said(blocked, vocabulary, [p for part in parts for p in part]), parts


@pytest.mark.parametrize(
    "caption",
    [
        "zorgon",
        "zo",
        "walking in",
        "walk the",
        "in woods",
        "in the walk",
        "the woods in",
        "grreat",
        "gr",
        "walk inn",
        "0",
    ],
)
def test_what_only_looks_like_it_is_said(blocked, vocabulary, caption):
    for parts in itertools.product(*(cuts(w, vocabulary) for w in caption.split())):
        assert may_be_said(blocked, vocabulary, [p for part in parts for p in part]), parts


def test_of_every_list():
    """No entry of any list can be said as people write it; most words of captions can."""
    lists = SafetyConfig(categories=LISTED).lists()
    vocabulary = text.Vocabulary([*text.reserved_tokens(SPELLING), *learn(COUNTS, 150)])
    blocked = constrain_pieces(vocabulary.words, lists)
    assert blocked.follows.size * 4 < 40e6
    for phrase in lists.phrases:
        pieces = [vocabulary.words[i] for i in vocabulary.encode(" ".join(phrase.words), None, SPELLING)[1:-1]]
        if text.UNKNOWN not in pieces:
            assert not may_be_said(blocked, vocabulary, pieces), phrase
    for word in COUNTS:
        assert may_be_said(
            blocked, vocabulary, [vocabulary.words[i] for i in vocabulary.encode(word, None, SPELLING)[1:-1]]
        )
    assert np.isin(blocked.follows, range(len(blocked.follows))).all()
