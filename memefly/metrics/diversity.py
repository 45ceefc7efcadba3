"""How much captions differ from one another."""

from __future__ import annotations

from collections.abc import Sequence


def diversity(hypotheses: Sequence[Sequence[str]]) -> dict[str, float]:
    """`distinct_captions`: how many different ones there are; `distinct_share`: of all."""
    distinct = len({tuple(h) for h in hypotheses})
    return {"distinct_captions": distinct, "distinct_share": distinct / len(hypotheses) if hypotheses else 0.0}
