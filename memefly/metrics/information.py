"""Bits a character: how well a model foresees what people write, whatever its words are.

    >>> bits_a_character([-25.0], [Written.of("one does not simply\\nwalk", vocabulary, spelling)])
    1.2022…

Of a caption are counted its characters in small letters, with breaks and signs as `memefly.spelling` keeps all of them,
` | ` between two text boxes, and its end. What a model has no word for it pays for: `DEAR` bits each, more than any
model needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from memefly.spelling import Spelling, spell
from memefly.text import UNKNOWN_ID, Vocabulary

DEAR = 6.0  # bits of a character that a model cannot say
_BETWEEN_BOXES = " | "
WHOLE = Spelling(breaks=True, punctuation="keep", emoji="keep")


@dataclass(frozen=True)
class Written:
    """A caption as it is counted: its characters, those that a model has no token for, and its tokens."""

    characters: int
    unsayable: int
    ids: list[int]  # with <s> and </s>

    @classmethod
    def of(cls, caption: str, vocabulary: Vocabulary, spelling: Spelling) -> Written:
        ids = vocabulary.encode(caption, None, spelling)
        counted = characters(caption)
        said = [vocabulary.words[i] for i in ids[1:-1] if i != UNKNOWN_ID]
        sayable = spell(said)
        return cls(counted, max(0, counted - _length(sayable)), ids)


class Bits(NamedTuple):
    """What captions of one picture need, and of how many characters they are."""

    needed: float
    characters: int

    @classmethod
    def of(cls, log_probs: Sequence[float], captions: Sequence[Written]) -> Bits:
        """`log_probs`: natural logarithms of the probabilities of all tokens of each caption behind <s>, summed. Raises
        ValueError where there are not as many as captions."""
        if len(log_probs) != len(captions):
            raise ValueError(f"{len(log_probs)} log-probabilities, but {len(captions)} captions")
        needed = -sum(log_probs) / math.log(2) + DEAR * sum(caption.unsayable for caption in captions)
        return cls(float(needed), sum(caption.characters for caption in captions))


class Foreseen(NamedTuple):
    """What captions of a picture need where it is shown, and where no picture is: the difference is what looking is
    worth."""

    shown: Bits
    unseen: Bits


def bits(captions: Sequence[Bits]) -> float:
    """A character; 0 of none."""
    return sum(one.needed for one in captions) / max(1, sum(one.characters for one in captions))


def bits_a_character(log_probs: Sequence[float], captions: Sequence[Written]) -> float:
    """`bits` of captions; arguments as of `Bits.of`."""
    return bits([Bits.of(log_probs, captions)])


def characters(caption: str) -> int:
    """How many are counted of a caption, its end among them."""
    return _length(spell(WHOLE.cut(caption)))


def _length(text: str) -> int:
    """The end counted."""
    return len(text.replace("\n", _BETWEEN_BOXES)) + 1
