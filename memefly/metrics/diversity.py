"""How much captions differ from one another, how many words they know, and whether they are the model's own.

>>> diversity([["a", "cat"], ["a", "dog"]])["distinct_1"]       # 3 different words of 4
>>> novelty([["a", "cat"]], [["a", "red", "cat"]]).copied       # [False]
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from memefly.metrics.bleu import BleuStatistics, closest_length, ngrams

SELF_BLEU_REFERENCES = 50
NEAR = 0.75  # ten words of which one is another are as near as 0.84, with two others 0.68

Tokens = Sequence[str]


def distinct_n(hypotheses: Sequence[Tokens], n: int) -> float:
    """Different n-grams over all n-grams (Li et al., arXiv 1510.03055); 0 where there are none."""
    found = [tuple(h[i : i + n]) for h in hypotheses for i in range(len(h) - n + 1)]
    return len(set(found)) / len(found) if found else 0.0


def repetition(captions: Sequence[Tokens], n: int = 2) -> float:
    """The share of a caption's n-grams that it has said before, in the mean over captions that have any: seq-rep-n
    (Welleck et al., arXiv 1908.04319); 0 where none has."""
    shares = []
    for caption in captions:
        found = [tuple(caption[i : i + n]) for i in range(len(caption) - n + 1)]
        if found:
            shares.append(1 - len(set(found)) / len(found))
    return sum(shares) / len(shares) if shares else 0.0


def diversity(hypotheses: Sequence[Tokens]) -> dict[str, float]:
    """`distinct_captions`: how many different ones there are; `distinct_share`: of all; `distinct_1` and `distinct_2`:
    different words and pairs of words, of all; `vocabulary`: how many different words; `length`: words a caption."""
    distinct = len({tuple(h) for h in hypotheses})
    many = max(1, len(hypotheses))
    return {
        "distinct_captions": distinct,
        "distinct_share": distinct / many,
        "distinct_1": distinct_n(hypotheses, 1),
        "distinct_2": distinct_n(hypotheses, 2),
        "vocabulary": len({word for h in hypotheses for word in h}),
        "length": sum(map(len, hypotheses)) / many,
    }


def self_bleu(hypotheses: Sequence[Tokens], references: int = SELF_BLEU_REFERENCES, seed: int = 0) -> float:
    """BLEU-4 of each caption against others of the same model (Zhu et al., "Texygen", arXiv 1802.01886), as of a
    corpus: high where a model repeats itself.

    It grows with the number of references, so that is fixed: as many others as `references`, drawn with `seed`, and all
    others only where there are fewer. 0 for fewer than two captions.
    """
    if len(hypotheses) < 2:
        return 0.0
    counts, drawer = [ngrams(h) for h in hypotheses], random.Random(seed)
    total = BleuStatistics()
    for i, hypothesis in enumerate(hypotheses):
        others = drawer.sample(range(len(hypotheses) - 1), min(references, len(hypotheses) - 1))
        others = [j + (j >= i) for j in others]
        matches = [0] * len(total.matches)
        for ngram, count in counts[i].items():
            matches[len(ngram) - 1] += min(count, max(counts[j][ngram] for j in others))
        total += BleuStatistics(
            tuple(matches),
            tuple(max(0, len(hypothesis) - n) for n in range(len(matches))),
            len(hypothesis),
            closest_length([len(hypotheses[j]) for j in others], len(hypothesis)),
        )
    return total.score()["bleu4"]


@dataclass(frozen=True)
class Novelty:
    """Of every caption: the training caption nearest to it, how near (0 to 1), and whether it is that one."""

    nearest: list[str]
    similarity: np.ndarray  # float64 (N,)
    copied: np.ndarray  # bool (N,)

    def score(self) -> dict[str, float]:
        """`copied_share`: of all captions; `near_copied_share`: of those that are not copied but `NEAR`, of all;
        `nearest_similarity`: the mean."""
        if not self.nearest:
            return {"copied_share": 0.0, "near_copied_share": 0.0, "nearest_similarity": 0.0}
        return {
            "copied_share": float(self.copied.mean()),
            "near_copied_share": float((~self.copied & (self.similarity >= NEAR)).mean()),
            "nearest_similarity": float(self.similarity.mean()),
        }


class NoveltyIndex:
    """Training captions by the words and pairs of neighbouring words in them, to look up what is near."""

    def __init__(self, training: Iterable[Tokens]):
        """Raises ValueError where there are no training captions."""
        self._seen = list(dict.fromkeys(map(tuple, training)))
        if not self._seen:
            raise ValueError("novelty needs the captions of training")
        having: dict[tuple[str, ...], list[int]] = defaultdict(list)  # which training captions have a word or a pair
        for row, caption in enumerate(self._seen):
            for part in _parts(caption):
                having[part].append(row)
        self._having = {part: np.array(rows, np.int32) for part, rows in having.items()}
        self._sizes = np.array([len(_parts(caption)) for caption in self._seen])
        self._copies = set(self._seen)
        self._known: dict[tuple[str, ...], tuple[int, float]] = {}  # captions come again, once a slice

    def of(self, hypotheses: Sequence[Tokens]) -> Novelty:
        nearest, similarity, copied = [], [], []
        for hypothesis in map(tuple, hypotheses):
            if hypothesis not in self._known:
                self._known[hypothesis] = self._nearest(hypothesis)
            best, dice = self._known[hypothesis]
            copied.append(hypothesis in self._copies)
            nearest.append(" ".join(hypothesis if copied[-1] else self._seen[best]))
            similarity.append(dice)
        return Novelty(nearest, np.array(similarity), np.array(copied, bool))

    def _nearest(self, hypothesis: tuple[str, ...]) -> tuple[int, float]:
        """The row of the first of the nearest, and how near it is."""
        parts = _parts(hypothesis)
        rows = [self._having[part] for part in parts if part in self._having]
        common = np.bincount(np.concatenate(rows), minlength=len(self._seen)) if rows else np.zeros(len(self._seen))
        dice = 2 * common / (self._sizes + len(parts))
        best = int(dice.argmax())
        return best, float(dice[best])


def novelty(hypotheses: Sequence[Tokens], training: Iterable[Tokens]) -> Novelty:
    """What of the hypotheses is in the training captions.

    Nearness is the Dice coefficient of the sets of their words and pairs of neighbouring words; of the equally near,
    the one that comes first. Raises ValueError where there are no training captions.
    """
    return NoveltyIndex(training).of(hypotheses)


def _parts(caption: Tokens) -> set[tuple[str, ...]]:
    return {*zip(caption), *itertools.pairwise(caption)}
