"""Whether captions are put together from pieces of captions that a model has learnt from.

    >>> index = SpanIndex([["a", "cat", "sleeps"], ["the", "dog", "runs"]])
    >>> index.spliced(["a", "cat", "runs"])
    True

People, too, write phrases that others wrote, of a meme's template above all: captions of theirs that were held back say
how often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

LEAST = 8  # words of a caption that is looked at: shorter ones are often two phrases that everybody says

Tokens = Sequence[str]


class SpanIndex:
    """Training captions, end to end, and where each pair of words stands in them."""

    def __init__(self, captions: Iterable[Tokens]):
        self._words: dict[str, int] = {}
        text = [0]  # which stands between captions, and is no word
        for caption in dict.fromkeys(map(tuple, captions)):
            text += [self._words.setdefault(word, len(self._words) + 1) for word in caption]
            text.append(0)
        self._text = np.array([*text, 0], np.int32)
        pairs = self._pair(self._text[:-1].astype(np.int64), self._text[1:])
        self._order = np.argsort(pairs, kind="stable").astype(np.int32)
        self._pairs = pairs[self._order]

    def _pair(self, first, second):
        return first * (len(self._words) + 1) + second

    def span(self, caption: Tokens) -> int:
        """How many words from its start on stand so, in a row, in one training caption."""
        ids = [self._words.get(word, -1) for word in caption]
        if len(ids) < 2 or min(ids[:2]) < 0:
            return int(bool(ids) and ids[0] > 0)
        pair = self._pair(ids[0], ids[1])
        low, high = np.searchsorted(self._pairs, [pair, pair + 1])
        places = self._order[low:high]
        for length in range(1, len(ids)):
            places = places[self._text[places + length] == ids[length]]
            if not len(places):
                return length
        return len(ids)

    def spliced(self, caption: Tokens) -> bool:
        """Whether it is nothing but two such spans, or one."""
        first = self.span(caption)
        return any(start + self.span(caption[start:]) == len(caption) for start in range(min(first, len(caption)) + 1))


def spliced_share(index: SpanIndex, captions: Sequence[Tokens], least: int = LEAST) -> float:
    """Of the captions of `least` words and more, those that are spliced; 0 of none."""
    long = [caption for caption in captions if len(caption) >= least]
    return sum(map(index.spliced, long)) / max(1, len(long))
