"""Corpus BLEU-1 to BLEU-4 with several references, as the coco-caption evaluation defines it.

    >>> bleu([[["a", "cat"], ["the", "cat"]]], [["the", "cat"]])["bleu2"]

Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002: n-gram counts are clipped
by the largest count in any one reference and summed over the corpus; the brevity penalty takes, for every hypothesis,
the reference length closest to its own (the shorter one of two equally close). The tiny terms that keep empty counts
from dividing by zero are those of coco-caption's `bleu_scorer.py` (option "closest").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_ORDER = 4
_TINY, _SMALL = 1e-15, 1e-9  # coco-caption's

Tokens = Sequence[str]


def ngrams(tokens: Tokens) -> Counter[tuple[str, ...]]:
    """Counts of all n-grams up to `MAX_ORDER`, by tuple."""
    return Counter(tuple(tokens[i : i + n]) for n in range(1, MAX_ORDER + 1) for i in range(len(tokens) - n + 1))


def most_in_one(references: Iterable[Tokens]) -> Counter[tuple[str, ...]]:
    """Of each n-gram the largest count in any one reference. Linear in their words: `|=` between Counters looks at all
    that was found so far for each reference, and a template has hundreds."""
    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        for ngram, count in ngrams(reference).items():
            if count > most[ngram]:
                most[ngram] = count
    return most


def closest_length(reference_lengths: Iterable[int], length: int) -> int:
    return min(reference_lengths, key=lambda reference: (abs(reference - length), reference))


@dataclass(frozen=True)
class BleuStatistics:
    """What BLEU needs to know of a corpus; two halves add up to the whole.

    `matches[n]` and `totals[n]` count n+1-grams: clipped matches, and all of the hypotheses.
    """

    matches: tuple[int, ...] = (0,) * MAX_ORDER
    totals: tuple[int, ...] = (0,) * MAX_ORDER
    hypothesis_length: int = 0
    reference_length: int = 0

    @classmethod
    def of(cls, references: Sequence[Tokens], hypothesis: Tokens) -> BleuStatistics:
        """Statistics of one hypothesis. Raises ValueError without a reference."""
        if not references:
            raise ValueError("a hypothesis needs at least one reference")
        ceiling = most_in_one(references)
        matches = [0] * MAX_ORDER
        for ngram, count in ngrams(hypothesis).items():
            matches[len(ngram) - 1] += min(count, ceiling[ngram])
        length = len(hypothesis)
        return cls(
            tuple(matches),
            tuple(max(0, length - n) for n in range(MAX_ORDER)),
            length,
            closest_length(map(len, references), length),
        )

    def __add__(self, other: BleuStatistics) -> BleuStatistics:
        return BleuStatistics(
            tuple(a + b for a, b in zip(self.matches, other.matches)),
            tuple(a + b for a, b in zip(self.totals, other.totals)),
            self.hypothesis_length + other.hypothesis_length,
            self.reference_length + other.reference_length,
        )

    def score(self) -> dict[str, float]:
        """{"bleu1": …, …, "bleu4": …} as fractions."""
        return {name: float(value) for name, value in score(self.vector()).items()}

    def vector(self) -> np.ndarray:
        """int64 (10,): matches, totals, both lengths. Those of all captions of a corpus add up to its own."""
        return np.array([*self.matches, *self.totals, self.hypothesis_length, self.reference_length], np.int64)


def score(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """BLEU-1 to BLEU-4 of summed `BleuStatistics.vector` (…, 10), each of shape (…)."""
    # The order of n-grams comes first, so that each row lies in one piece. Where a view with gaps ends next to
    # its result in memory, NumPy takes powers by another routine, whose last bit differs.
    rows = np.ascontiguousarray(np.moveaxis(np.asarray(vectors, np.float64), -1, 0))
    matches, totals, lengths = np.split(rows, [MAX_ORDER, 2 * MAX_ORDER])
    ratio = (lengths[0] + _TINY) / (lengths[1] + _SMALL)
    penalty = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    products = np.cumprod((matches + _TINY) / (totals + _SMALL), axis=0)
    return {f"bleu{n}": products[n - 1] ** (1 / n) * penalty for n in range(1, MAX_ORDER + 1)}


def bleu(references: Sequence[Sequence[Tokens]], hypotheses: Sequence[Tokens]) -> dict[str, float]:
    """BLEU-1 to BLEU-4 of tokenized hypotheses, each with its list of tokenized references."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} hypotheses, but references for {len(references)}")
    total = BleuStatistics()
    for group, hypothesis in zip(references, hypotheses):
        total += BleuStatistics.of(group, hypothesis)
    return total.score()
