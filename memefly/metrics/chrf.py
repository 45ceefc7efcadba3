"""chrF: character n-grams instead of words, so that a plural or a misspelling is not all wrong.

    >>> chrf([[["a", "red", "cat"]]], [["a", "red", "cats"]])["chrf"]

Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015, as sacrebleu computes it for a corpus
(chrF2: n-grams of 1 to 6 characters without spaces, beta 2): a hypothesis is held against the reference that suits it
best, counts are summed over the corpus, and precision and recall are means over the orders that occur. A fraction,
where sacrebleu gives hundredths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_ORDER = 6
BETA = 2.0

Tokens = Sequence[str]


def _ngrams(tokens: Tokens) -> list[Counter]:
    line = "".join(tokens)
    return [Counter(line[i : i + n] for i in range(len(line) - n + 1)) for n in range(1, MAX_ORDER + 1)]


def statistics(references: Sequence[Tokens], hypothesis: Tokens) -> np.ndarray:
    """int64 (3, 6): n-grams of the hypothesis, of its best reference, and of both, by order. Those of all captions of a
    corpus add up to its own. Raises ValueError without a reference."""
    if not references:
        raise ValueError("a hypothesis needs at least one reference")
    mine = _ngrams(hypothesis)
    found = []
    for reference in references:
        theirs = _ngrams(reference)
        # Orders that the reference is too short for count on neither side.
        counts = [
            (sum(a.values()) if b else 0, sum(b.values()), sum(min(n, b[g]) for g, n in a.items() if g in b))
            for a, b in zip(mine, theirs)
        ]
        found.append(np.array(counts, np.int64).T)
    return max(found, key=lambda counts: float(score(counts)))


def score(counts: np.ndarray) -> np.ndarray:
    """chrF of summed `statistics` (…, 3, 6), of shape (…)."""
    mine, theirs, both = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    there = (mine > 0) & (theirs > 0)
    orders = np.maximum(there.sum(axis=-1), 1)
    precision = np.divide(both, mine, out=np.zeros_like(both), where=there).sum(axis=-1) / orders
    recall = np.divide(both, theirs, out=np.zeros_like(both), where=there).sum(axis=-1) / orders
    weighted = BETA**2 * precision + recall
    return np.divide((1 + BETA**2) * precision * recall, weighted, out=np.zeros_like(weighted), where=weighted > 0)


def chrf(references: Sequence[Sequence[Tokens]], hypotheses: Sequence[Tokens]) -> dict[str, float]:
    """{"chrf": …} of tokenized hypotheses, each with its list of tokenized references."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} hypotheses, but references for {len(references)}")
    total = sum((statistics(r, h) for r, h in zip(references, hypotheses)), np.zeros((3, MAX_ORDER), np.int64))
    return {"chrf": float(score(total))}
