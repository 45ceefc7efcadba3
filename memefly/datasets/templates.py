"""Captions of one picture that many people wrote on: a meme's template.

    >>> once = Distinct()
    >>> sides = part_captions(boxes for boxes in captions if not once.refuses(boxes))
    >>> for split, captions in sides.items(): …

A captioner of memes is asked for new jokes about templates that it knows, so captions are parted here, not pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memefly import text
from memefly.datasets.splits import split_of

CAPTION_SHARES = {"train": 8, "val": 1, "eval": 1}


def part_captions(captions: Iterable[str | Sequence[str]]) -> dict[str, list[str | Sequence[str]]]:
    """Captions by split, by the hash of a caption's words. Splits without any are left out."""
    sides: dict[str, list[str | Sequence[str]]] = {split: [] for split in CAPTION_SHARES}
    for caption in captions:
        sides[split_of(" ".join(_words(caption)), CAPTION_SHARES)].append(caption)
    return {split: part for split, part in sides.items() if part}


class Distinct:
    """Of captions that differ in no word, the first one."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def refuses(self, caption: str | Sequence[str]) -> str:
        """`no_words` or `duplicate`; nothing where the caption is to be taken."""
        words = " ".join(_words(caption))
        if not words:
            return "no_words"
        if words in self._said:
            return "duplicate"
        self._said.add(words)
        return ""


def _words(caption: str | Sequence[str]) -> list[str]:
    return text.tokenize(caption if isinstance(caption, str) else " ".join(caption))
