"""An n-gram model of captions: how likely people's words are to follow one another so.

    >>> model = KneserNey([["a", "cat"], ["a", "dog"]], order=5)
    >>> model.log_prob(["a", "cat"])             # natural logarithm, the end counted

Interpolated Kneser-Ney smoothing (Kneser and Ney, 1995, as in Chen and Goodman, 1999, sec. 4.1.6), one discount an
order, n1 / (n1 + 2 n2); below words that were seen, all words and one that stands for the unseen are alike.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

Tokens = Sequence[str]
_START, _END, _UNSEEN = "<s>", "</s>", "<unk>"


class KneserNey:
    def __init__(self, captions: Iterable[Tokens], order: int = 5, vocabulary: Iterable[str] = ()):
        """`vocabulary`: words that are told apart though they may not be in `captions`, so that models of different
        captions can be interpolated. Raises ValueError for an order below 1, or without captions."""
        if order < 1:
            raise ValueError(f"expected an order of 1 at least, got {order}")
        self._order = order
        counts: Counter[tuple[str, ...]] = Counter()
        for caption in captions:
            padded = _padded(caption, order)
            counts.update(padded[i : i + order] for i in range(len(padded) - order + 1))
        if not counts:
            raise ValueError("an n-gram model needs captions")
        # From the longest n-grams down: how often each occurs there; below, how many words it occurs behind.
        self._levels: list[_Level] = []
        for _ in range(order):
            self._levels.append(_Level(counts))
            counts = Counter(ngram[1:] for ngram in counts)
        self._levels.reverse()
        self._words = {ngram[0] for ngram in self._levels[0].counts} | set(vocabulary)  # and the end

    @property
    def vocabulary(self) -> frozenset[str]:
        """Words that it has seen, the end, and `<unk>`: what its probabilities add up over."""
        return frozenset(self._words | {_UNSEEN})

    def probability(self, word: str, before: Tokens) -> float:
        """Of a word behind others, of which the last `order` - 1 count. Words that it has not seen are all one."""
        word = word if word in self._words else _UNSEEN
        found = 1 / (len(self._words) + 1)
        for n, level in enumerate(self._levels):
            history = tuple(before[len(before) - n :]) if n else ()
            total = level.totals.get(history)
            if total is None:
                break  # and no longer history can have been seen
            discounted = max(0.0, level.counts.get((*history, word), 0) - level.discount)
            found = (discounted + level.discount * level.followers[history] * found) / total
        return found

    def log_prob(self, caption: Tokens) -> float:
        padded = _padded([word if word in self._words else _UNSEEN for word in caption], self._order)
        first = self._order - 1
        return sum(math.log(self.probability(padded[i], padded[i - first : i])) for i in range(first, len(padded)))

    def perplexity(self, captions: Sequence[Tokens]) -> float:
        """exp of the mean negative log-probability of a word, ends counted; 1 of none."""
        words = sum(len(caption) + 1 for caption in captions)
        return math.exp(-sum(map(self.log_prob, captions)) / words) if words else 1.0


class _Level:
    """n-grams of one length: `totals` and `followers` are what comes behind each history, summed and different."""

    def __init__(self, counts: Counter[tuple[str, ...]]):
        self.counts: dict[tuple[str, ...], int] = dict(counts)
        once, twice = (sum(n == times for n in counts.values()) for times in (1, 2))
        self.discount = once / (once + 2 * twice) if once and twice else 0.5
        totals: dict[tuple[str, ...], int] = defaultdict(int)
        followers: dict[tuple[str, ...], int] = defaultdict(int)
        for ngram, n in counts.items():
            totals[ngram[:-1]] += n
            followers[ngram[:-1]] += 1
        self.totals, self.followers = dict(totals), dict(followers)


def _padded(caption: Tokens, order: int) -> tuple[str, ...]:
    return (*[_START] * (order - 1), *caption, _END)
