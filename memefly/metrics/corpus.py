"""Statistics of each caption, from which the metrics of a whole corpus, and of any resampling of it, follow.

    >>> ours, theirs = Corpus.of(references, a), Corpus.of(references, b)
    >>> ours.score()["bleu4"]
    >>> intervals(ours)["bleu4"]                      # Interval(low=0.18, high=0.22)
    >>> compare(ours, theirs)["bleu4"]                # Difference(value=0.011, low=0.002, high=0.02, p=0.014)

Intervals are of the bootstrap over pictures (Efron 1979, percentiles); differences of the paired one, in which both
models are judged on the same draws (Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP
2004). CIDEr's document frequencies stay those of the whole corpus.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memefly.metrics.bleu import BleuStatistics
from memefly.metrics.bleu import score as bleu_of
from memefly.metrics.chrf import score as chrf_of
from memefly.metrics.chrf import statistics as chrf_statistics
from memefly.metrics.cider import CiderScorer
from memefly.metrics.information import Bits
from memefly.metrics.rouge import score as rouge_of

SAMPLES = 1000
LEVEL = 0.95

Tokens = Sequence[str]


@functools.lru_cache(maxsize=1 << 14)  # the same captions are scored again in every slice that they are in
def _statistics(references: tuple[Tokens, ...], hypothesis: Tokens) -> tuple:
    """What depends on one caption and its references alone: for BLEU, for chrF, and ROUGE-L."""
    return (
        BleuStatistics.of(references, hypothesis).vector(),
        chrf_statistics(references, hypothesis),
        rouge_of(references, hypothesis),
    )


@dataclass(frozen=True)
class Corpus:
    """N captions beside their references."""

    bleu: np.ndarray  # int64 (N, 10)
    chrf: np.ndarray  # int64 (N, 3, 6)
    cider: np.ndarray  # float64 (N,)
    rouge_l: np.ndarray  # float64 (N,)
    bits: np.ndarray | None = None  # float64 (N, 2): what the references need, and their characters

    @classmethod
    def of(
        cls,
        references: Sequence[Sequence[Tokens]],
        hypotheses: Sequence[Tokens],
        scorer: CiderScorer | None = None,
        foreseen: Sequence[Bits] | None = None,
    ) -> Corpus:
        """Of tokenized hypotheses, each with its list of tokenized references; `scorer`: that of the references, where
        there is one already; `foreseen`: how well the model foresees each picture's references, where that is known.
        Raises ValueError where a hypothesis has no reference."""
        if len(references) != len(hypotheses):
            raise ValueError(f"{len(hypotheses)} hypotheses, but references for {len(references)}")
        N, scorer = len(hypotheses), scorer or CiderScorer(references)
        pairs = [_statistics(tuple(map(tuple, r)), tuple(h)) for r, h in zip(references, hypotheses)]
        return cls(
            np.array([bleu for bleu, _, _ in pairs], np.int64).reshape(N, 10),
            np.array([chrf for _, chrf, _ in pairs], np.int64).reshape(N, 3, 6),
            np.array([scorer.score(i, h) for i, h in enumerate(hypotheses)], np.float64),
            np.array([rouge_l for _, _, rouge_l in pairs], np.float64),
            None if foreseen is None else np.array(foreseen, np.float64).reshape(N, 2),
        )

    def __len__(self) -> int:
        return len(self.cider)

    def score(self) -> dict[str, float]:
        """BLEU-1 to BLEU-4, CIDEr-D, ROUGE-L and chrF of all, 0 of none; `bits_a_character` where it is known."""
        if not len(self):
            return dict.fromkeys(("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "chrf"), 0.0)
        return {name: float(value) for name, value in self.resampled(np.ones(len(self))).items()}

    def resampled(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """The same, each of shape (…), where every caption occurs as often as `times` (…, N) says."""
        captions = times.sum(axis=-1)
        found = bleu_of(times @ self.bleu) | {
            "cider": times @ self.cider / captions,
            "rouge_l": times @ self.rouge_l / captions,
            "chrf": chrf_of(np.tensordot(times, self.chrf, axes=1)),
        }
        if self.bits is not None:
            found["bits_a_character"] = times @ self.bits[:, 0] / np.maximum(times @ self.bits[:, 1], 1)
        return found


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Of one model's score to another's on the same pictures; `p`, two-sided: how often chance alone would show as much
    if neither was better."""

    value: float
    low: float
    high: float
    p: float


@functools.lru_cache(maxsize=2)
def _draws(pictures: int, samples: int, seed: int) -> np.ndarray:
    """float64 (samples, pictures): how often each picture is in each draw of as many pictures with replacement."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=samples).astype(np.float64)
    draws.flags.writeable = False  # one array for all who ask
    return draws


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(corpus: Corpus, samples: int = SAMPLES, seed: int = 0, level: float = LEVEL) -> dict[str, Interval]:
    """By metric. Raises ValueError for fewer than two pictures."""
    if len(corpus) < 2:
        raise ValueError(f"an interval needs at least two pictures, got {len(corpus)}")
    drawn = corpus.resampled(_draws(len(corpus), samples, seed))
    return {name: Interval(*_ends(values, level)) for name, values in drawn.items()}


def compare(
    ours: Corpus, theirs: Corpus, samples: int = SAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, Difference]:
    """Ours less theirs, by metric; both say something to the same pictures in the same order. Raises ValueError where
    that cannot be, or for fewer than two pictures."""
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(f"expected both models on the same pictures, two at least; got {len(ours)} and {len(theirs)}")
    draws = _draws(len(ours), samples, seed)
    a, b = ours.resampled(draws), theirs.resampled(draws)
    ours_at, theirs_at = ours.score(), theirs.score()
    found = {}
    for name in [name for name in a if name in b]:
        differences, value = a[name] - b[name], ours_at[name] - theirs_at[name]
        # The draws lie around the difference that was found; around zero they would be what chance alone shows.
        beyond = np.abs(differences - differences.mean()) >= abs(value) - 1e-12
        p = (float(beyond.sum()) + 1) / (samples + 1)
        found[name] = Difference(value, *_ends(differences, level), p)
    return found
