"""Rules of a search are about words, whatever pieces a vocabulary has."""

import numpy as np
import pytest
import tensorflow as tf

from memefly import networks
from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.networks import NetworkConfig
from memefly.rules import dangling_ids, pieces_of
from memefly.safety.piecewise import constrain_pieces
from memefly.safety.words import WordLists
from memefly.spelling import BREAK, spell
from memefly.text import END, END_ID, PAD_ID, RESERVED_WITH_BREAK, UNKNOWN_ID, Vocabulary

SHAPE = (2, 2, 5)
PIECES = ["th", "the", "##e", "do", "##g", "dog", "##s", "s", "run", "##ru", "##n", ",", "in", "##to"]
VOCABULARY = Vocabulary([*RESERVED_WITH_BREAK, *PIECES])
CASES = [  # knobs, and whether a request brings them
    ({"beam": 1}, False),
    ({"beam": 4}, False),
    ({"beam": 4, "groups": 2}, True),
    ({"beam": 6, "temperature": 2.0, "top_k": 8, "seed": 3}, True),
]
T = 11


def said(number: int, overridden: bool = False, blocked=None, bias: dict[str, float] | None = None, **knobs):
    """Captions of a random network with a number, as pieces: those that are captions, and how many places held none."""
    net = networks.build(
        NetworkConfig(embedding=6, units=8, attention_units=4, tie_weights=False), len(VOCABULARY), SHAPE, number
    )
    net.words.kernel.assign(net.words.kernel * 2.0)
    values = np.zeros(len(VOCABULARY), np.float32)
    values[END_ID] = -3.0
    for piece, value in (bias or {}).items():
        values[VOCABULARY.words.index(piece)] = value
    net.words.bias.assign(values)
    pictures = 2 * tf.random.stateless_normal([4, *SHAPE], [7, 7])
    fixed = {"max_length": T}
    config = DecodingConfig(**fixed, **({} if overridden else {"min_length": 0, "block_ngram": 0} | knobs))
    asked = {
        name: tf.fill([4], tf.constant(value, tf.int32 if isinstance(value, int) else tf.float32))
        for name, value in ({"min_length": 0, "block_ngram": 0} | knobs).items()
    }
    decoded = decode(
        net,
        pictures,
        config,
        dangling_ids(VOCABULARY),
        blocked,
        pieces=pieces_of(VOCABULARY),
        overrides=asked if overridden else None,
    )
    tokens, scores = decoded.tokens.numpy().reshape(-1, T), decoded.scores.numpy().reshape(-1)
    return [[VOCABULARY.words[i] for i in row if i != PAD_ID] for row in tokens[scores > -1e6]], int(
        (scores <= -1e6).sum()
    )


def words_of(pieces: list[str]) -> list[str]:
    return " ".join(p for p in pieces if p != END).replace(" ##", "").split(" ")


def is_cut_short(pieces: list[str]) -> bool:
    return len(pieces) == T


@pytest.mark.parametrize(("knobs", "overridden"), CASES)
def test_every_piece_goes_on_with_a_word(knobs, overridden):
    for pieces in said(0, overridden, **knobs)[0]:
        assert pieces[-1] == END and UNKNOWN_ID not in pieces
        for before, piece in zip([BREAK, *pieces], pieces):
            assert not (piece.startswith("##") and before in (BREAK, ",")), pieces


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(("knobs", "overridden"), CASES)
def test_no_ngram_of_words_twice(size, knobs, overridden):
    """However the words were cut: `th ##e` after `the`, too."""
    repeated = {True: 0, False: 0}
    for number in range(2):
        for rule in (size, 0):
            for pieces in said(number, overridden, **knobs, block_ngram=rule)[0]:
                words = words_of(pieces)
                if is_cut_short(pieces):  # its last word ends where it has to
                    words = words[:-1]
                ngrams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
                repeated[bool(rule)] += len(ngrams) - len(set(ngrams))
    assert repeated[True] == 0
    assert size == 3 or repeated[False] > 0, "the rule had something to forbid"


@pytest.mark.parametrize("overridden", [False, True])
def test_a_least_number_of_words_not_pieces(overridden):
    short = {END: 6.0}
    counts = [len(words_of(p)) for p in said(1, overridden, bias=short, beam=3, min_length=3)[0]]
    pieces = [len(p) - 1 for p in said(1, overridden, bias=short, beam=3, min_length=3)[0]]
    assert min(counts) == 3 and max(pieces) > 3
    assert min(len(p) - 1 for p in said(1, overridden, bias=short, beam=3)[0]) == 0


def test_no_dangling_end_however_it_is_cut():
    ends = [words_of(p)[-1] for p in said(2, bias={"th": 2.0, "##e": 2.0, END: 1.0}, beam=6)[0] if not is_cut_short(p)]
    assert ends and not {"the", "in", "into", BREAK} & set(ends)


LISTS = WordLists({"x": ["dog", "the run", "sru*"]})


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(("knobs", "overridden"), CASES)
def test_what_is_blocked_is_never_said(knobs, overridden):
    blocked = constrain_pieces(VOCABULARY.words, LISTS)
    found = {True: 0, False: 0}
    captions = 0
    for number in range(2):
        for block in (True, False):
            for pieces in said(
                number,
                overridden,
                blocked if block else None,
                bias={END: 0.0, "dog": 3.0, "##s": 3.0, "the": 3.0, "run": 3.0},
                **knobs,
            )[0]:
                found[block] += bool(LISTS.find(spell([p for p in pieces if p != END])))
                captions += block
    assert found[True] == 0 and found[False] > 0, "without the lists it would have been said"
    assert captions > 3


def test_a_caption_that_must_end_in_a_blocked_word_is_none():
    """Better nothing than that; other hypotheses take its place where there are some."""
    blocked = constrain_pieces(VOCABULARY.words, WordLists({"x": ["dog"]}))
    bias = dict.fromkeys(PIECES, -30.0) | {"dog": 0.0, "##s": -2.0, END: -30.0}
    captions, none = said(0, blocked=blocked, bias=bias, beam=1)
    assert none + len(captions) == 4
    assert all("dog" not in words_of(p) for p in captions)
