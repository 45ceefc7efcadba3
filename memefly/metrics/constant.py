"""The best constant caption: the one sentence that scores highest when it is said to every picture.

    >>> best_constant_caption(references, order=4)
    ('a dog runs through the grass', 0.0812)

A captioner that does not look can do no better, so a gate asks for more than this. The search over many candidates is
exact and cheap: said to every picture, an n-gram that occurs c times in a candidate matches the sum over pictures of
min(c, its largest count in one reference), which is tabulated once and looked up for each candidate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from memefly.metrics.bleu import MAX_ORDER, BleuStatistics, Tokens, closest_length, most_in_one, ngrams


@dataclass
class ConstantCaptionSearch:
    """Collects references picture by picture.

    `matched[g][c - 1]` is how many pictures have n-gram g at least c times in one of their references;
    `lengths` counts the sets of reference lengths; `candidates` are the sentences to try.
    """

    matched: dict[tuple[str, ...], Counter] = field(default_factory=lambda: defaultdict(Counter))
    lengths: Counter = field(default_factory=Counter)
    candidates: set[tuple[str, ...]] = field(default_factory=set)
    pictures: int = 0

    def add(self, references: Sequence[Tokens]) -> None:
        """One picture. Its references are candidates too."""
        self.candidates.update(map(tuple, references))
        for ngram, count in most_in_one(references).items():
            for level in range(1, count + 1):
                self.matched[ngram][level] += 1
        self.lengths[tuple(sorted({len(r) for r in references}))] += 1
        self.pictures += 1

    def _statistics(self, candidate: Tokens, reference_length: int) -> BleuStatistics:
        """BLEU statistics of saying `candidate` to every picture."""
        matches = [0] * MAX_ORDER
        for ngram, count in ngrams(candidate).items():
            levels = self.matched.get(ngram)
            if levels:
                matches[len(ngram) - 1] += sum(levels[level] for level in range(1, count + 1))
        length = len(candidate)
        return BleuStatistics(
            tuple(matches),
            tuple(max(0, length - n) * self.pictures for n in range(MAX_ORDER)),
            length * self.pictures,
            reference_length,
        )

    def best(self, order: int = MAX_ORDER) -> tuple[str, float]:
        """The best candidate by BLEU of `order`, and its score; ("", 0.0) where there is none."""
        reference_length = {
            length: sum(closest_length(lengths, length) * times for lengths, times in self.lengths.items())
            for length in {len(c) for c in self.candidates}
        }
        scored = ((self._statistics(c, reference_length[len(c)]).score()[f"bleu{order}"], c) for c in self.candidates)
        value, tokens = max(scored, default=(0.0, ()))
        return " ".join(tokens), value


def best_constant_caption(
    references: Sequence[Sequence[Tokens]], candidates: Iterable[Tokens] = (), order: int = MAX_ORDER
) -> tuple[str, float]:
    """The best of all references and `candidates` when said to every picture, and its corpus BLEU."""
    search = ConstantCaptionSearch()
    for group in references:
        search.add(group)
    search.candidates.update(map(tuple, candidates))
    return search.best(order)
