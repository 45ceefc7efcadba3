"""Whether captions are about their own pictures.

>>> cider_of_others(references, hypotheses)         # CIDEr-D of every caption, said to other pictures

A caption that fits any picture scores as much beside the references of another one; what it scores beyond that, it owes
to looking. After the shuffled captions of "Learning to Evaluate Image Captioning" (arXiv 1806.06422).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from memefly.metrics.cider import CiderScorer

SHUFFLES = 3

Tokens = Sequence[str]


def cider_of_others(
    references: Sequence[Sequence[Tokens]],
    hypotheses: Sequence[Tokens],
    shuffles: int = SHUFFLES,
    seed: int = 0,
    scorer: CiderScorer | None = None,
) -> float:
    """Mean CIDEr-D where each caption is said to so many other pictures, drawn with `seed`. `scorer`: that of the
    references, where there is one. 0 for fewer than two pictures."""
    many = len(hypotheses)
    if many < 2:
        return 0.0
    scorer, drawer = scorer or CiderScorer(references), random.Random(seed)
    # A rotation moves every caption, and a random order first keeps neighbours, which may be alike, apart.
    order = drawer.sample(range(many), many)
    steps = drawer.sample(range(1, many), min(shuffles, many - 1))
    scores = [
        scorer.score(picture, hypotheses[order[(place + step) % many]])
        for step in steps
        for place, picture in enumerate(order)
    ]
    return sum(scores) / len(scores)
