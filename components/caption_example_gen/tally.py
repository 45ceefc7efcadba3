"""What the steps of cleaning did, counted on Beam: how much, and a few examples that are the same in every run.

>>> changes | beam.CombinePerKey(Tally())          # ("html", "changed"), Shown(line, before, after)
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import NamedTuple

import apache_beam as beam

EXAMPLES = 3  # of what a step changed, and of what it dropped


class Shown(NamedTuple):
    """`line` of captions.jsonl; `after` is empty where the caption was dropped, and `why` says the reason."""

    line: int
    before: str
    after: str
    why: str


class Tally(beam.CombineFn):
    """Counts, the reasons, and the first examples by their place."""

    def create_accumulator(self) -> tuple[int, Counter, list[Shown]]:
        return 0, Counter(), []

    def add_input(self, accumulator, shown: Shown):
        number, why, first = accumulator
        why[shown.why] += 1
        return number + 1, why, heapq.nsmallest(EXAMPLES, [*first, shown])

    def merge_accumulators(self, accumulators):
        number, why, first = self.create_accumulator()
        for other, reasons, some in accumulators:
            number, first = number + other, heapq.nsmallest(EXAMPLES, [*first, *some])
            why += reasons
        return number, why, first

    def extract_output(self, accumulator) -> dict:
        number, why, first = accumulator
        examples = [[shown.before, shown.after, shown.why] for shown in first]
        return {"number": number, "why": dict(why), "examples": examples}
