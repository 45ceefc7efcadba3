import math

import pytest

from memefly.metrics.information import DEAR, Written, bits_a_character
from memefly.spelling import BREAK, PLAIN, Spelling
from memefly.subwords import learn
from memefly.text import RESERVED_TOKENS, RESERVED_WITH_BREAK, Vocabulary

KEPT = Spelling(breaks=True, punctuation="keep", emoji="keep")
MEME = "ONE does not simply\nwalk, FRODO!"


def test_all_that_is_written_is_counted():
    words = Vocabulary([*RESERVED_WITH_BREAK, *KEPT.cut(MEME.replace("\n", " "))])
    written = Written.of(MEME, words, KEPT)
    assert written.characters == len("one does not simply | walk, frodo!") + 1
    assert written.unsayable == 0 and [words.words[i] for i in written.ids[1:-1]] == KEPT.cut(MEME)
    assert BREAK in KEPT.cut(MEME)


def test_what_a_model_has_no_word_for_is_dear():
    """A plain model loses the break (" | " in the place of a blank), a comma and a mark; this one knows no frodo."""
    words = Vocabulary([*RESERVED_TOKENS, "one", "does", "not", "simply", "walk"])
    written = Written.of(MEME, words, PLAIN)
    assert written.characters == 35 and written.unsayable == 2 + 1 + 1 + len(" frodo")
    assert bits_a_character([-7.0], [written]) == pytest.approx((7.0 / math.log(2) + 10 * DEAR) / 35)


def test_pieces_pay_for_nothing():
    counts = dict.fromkeys([*KEPT.cut(MEME.replace("\n", " ")), "walking"], 3)
    pieces = Vocabulary([*RESERVED_WITH_BREAK, *learn(counts, 120)])
    written = Written.of("walk, does!\nfrodoing", pieces, KEPT)
    assert written.unsayable == 0 and written.characters == len("walk, does! | frodoing") + 1


def test_a_mean_over_characters_not_captions():
    words = Vocabulary([*RESERVED_TOKENS, "one", "does"])
    short, long = (Written.of(text, words, PLAIN) for text in ("one", "one does one does"))
    bits = bits_a_character([-2 * math.log(2), -20 * math.log(2)], [short, long])
    assert bits == pytest.approx(22 / (4 + 18))
    assert bits_a_character([], []) == 0.0
    with pytest.raises(ValueError, match="2 log-probabilities, but 1 captions"):
        bits_a_character([-1.0, -1.0], [short])
