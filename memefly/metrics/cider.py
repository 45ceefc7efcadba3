"""CIDEr-D: how much a caption says what people say of the picture, and not of every picture.

    >>> cider([[["a", "red", "cat"], ["the", "cat"]], [["a", "dog"]]], [["a", "red", "cat"], ["a", "dog"]])["cider"]

Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation", arXiv 1411.5726, in the form that
the coco-caption evaluation computes: TF-IDF vectors of 1- to 4-grams, their counts clipped by the reference's, a
Gaussian penalty on the difference of lengths (sigma 6), the mean over references and orders, times 10. Figures in
papers give this number, mostly times 100.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

MAX_ORDER = 4
SIGMA = 6.0

Tokens = Sequence[Hashable]


def _counts(tokens: Tokens) -> Counter:
    return Counter(tuple(tokens[i : i + n]) for n in range(1, MAX_ORDER + 1) for i in range(len(tokens) - n + 1))


@dataclass(frozen=True)
class _Vector:
    """TF-IDF weights of a caption's n-grams, their norm for each order, and the number of its words."""

    weights: dict[tuple, float]
    norms: tuple[float, ...]
    length: int


class CiderScorer:
    """Scores hypotheses against a fixed set of pictures' references, whose document frequencies it takes.

    What costs is done once, so that it can be a reward (self-critical training) as well as a metric.
    """

    def __init__(self, references: Sequence[Sequence[Tokens]]):
        """`references`: captions of every picture, as tokens of any hashable kind. Raises ValueError where a picture
        has none."""
        if not all(references):
            raise ValueError("every picture needs at least one reference")
        self._frequency: Counter = Counter()
        counted = [[_counts(tokens) for tokens in captions] for captions in references]
        for captions in counted:
            self._frequency.update(set().union(*captions))
        self._log_pictures = math.log(max(1, len(references)))
        self._references = [
            [self._vector(counts, len(tokens)) for counts, tokens in zip(row, captions)]
            for row, captions in zip(counted, references)
        ]

    def _vector(self, counts: Counter, length: int) -> _Vector:
        squares, weights = [0.0] * MAX_ORDER, {}
        for ngram, count in counts.items():
            weight = count * (self._log_pictures - math.log(max(1.0, self._frequency.get(ngram, 0))))
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
        return _Vector(weights, tuple(map(math.sqrt, squares)), length)

    def score(self, picture: int, hypothesis: Tokens) -> float:
        """CIDEr-D of one caption of the picture at index `picture`."""
        mine = self._vector(_counts(hypothesis), len(hypothesis))
        references = self._references[picture]
        total = 0.0
        for theirs in references:
            dots = [0.0] * MAX_ORDER
            for ngram, weight in mine.weights.items():
                other = theirs.weights.get(ngram)
                if other is not None:
                    dots[len(ngram) - 1] += min(weight, other) * other
            delta = mine.length - theirs.length
            penalty = math.exp(-(delta * delta) / (2 * SIGMA * SIGMA))
            for dot, a, b in zip(dots, mine.norms, theirs.norms):
                total += penalty * (dot / (a * b) if a and b else dot)
        return 10.0 * total / (MAX_ORDER * len(references))


def cider(references: Sequence[Sequence[Tokens]], hypotheses: Sequence[Tokens]) -> dict[str, float]:
    """{"cider": …}, the mean over hypotheses, each with its list of tokenized references."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} hypotheses, but references for {len(references)}")
    if not hypotheses:
        return {"cider": 0.0}
    scorer = CiderScorer(references)
    return {"cider": sum(scorer.score(i, h) for i, h in enumerate(hypotheses)) / len(hypotheses)}
