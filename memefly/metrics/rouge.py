"""ROUGE-L: the longest common subsequence of a caption and its references.

    >>> rouge_l([[["a", "red", "cat"]]], [["a", "cat"]])["rouge_l"]

Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", ACL 2004, as coco-caption computes it: for every
hypothesis the best precision and the best recall over its references, in an F-measure with beta 1.2. Only where
hypothesis and reference are both empty do the two differ: coco-caption takes "" for a word and counts a match.
"""

from __future__ import annotations

from collections.abc import Sequence

BETA = 1.2

Tokens = Sequence[str]


def _common(a: Tokens, b: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def score(references: Sequence[Tokens], hypothesis: Tokens) -> float:
    """ROUGE-L of one hypothesis. Raises ValueError without a reference."""
    if not references:
        raise ValueError("every hypothesis needs at least one reference")
    common = [(_common(hypothesis, reference), len(reference)) for reference in references]
    precision = max(c / len(hypothesis) for c, _ in common) if hypothesis else 0.0
    recall = max((c / n for c, n in common if n), default=0.0)
    if not (precision and recall):
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def rouge_l(references: Sequence[Sequence[Tokens]], hypotheses: Sequence[Tokens]) -> dict[str, float]:
    """{"rouge_l": …}, the mean over hypotheses, each with its list of tokenized references."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} hypotheses, but references for {len(references)}")
    scores = [score(group, hypothesis) for group, hypothesis in zip(references, hypotheses)]
    return {"rouge_l": sum(scores) / len(scores) if scores else 0.0}
