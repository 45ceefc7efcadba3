"""Caption metrics: pure functions from references and hypotheses to a dict.

    >>> score(references=[["a cat on a mat", "the cat"]], hypotheses=["a cat on the mat"])["bleu1"]

`references` holds a list of captions for every hypothesis. BLEU, ROUGE-L and chrF are fractions, not
percentages; CIDEr is on its own scale, on which people agree with one another at about 1.

METEOR is not among them: what it is published with, its jar's tables of paraphrases and WordNet's synonyms, has no form
without Java, and exact matches and stems alone would be another number under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memefly import text
from memefly.metrics.bleu import bleu
from memefly.metrics.chrf import chrf
from memefly.metrics.cider import cider
from memefly.metrics.constant import best_constant_caption
from memefly.metrics.corpus import Corpus, Difference, Interval, compare, intervals
from memefly.metrics.diversity import Novelty, NoveltyIndex, diversity, novelty, repetition, self_bleu
from memefly.metrics.form import valid_share
from memefly.metrics.grounding import cider_of_others
from memefly.metrics.rouge import rouge_l

__all__ = [
    "Corpus",
    "Difference",
    "Interval",
    "Novelty",
    "NoveltyIndex",
    "best_constant_caption",
    "bleu",
    "chrf",
    "cider",
    "cider_of_others",
    "compare",
    "diversity",
    "intervals",
    "novelty",
    "repetition",
    "rouge_l",
    "score",
    "self_bleu",
    "valid_share",
]


def score(
    references: Sequence[Sequence[str]],
    hypotheses: Sequence[str],
    tokenize: bool | Callable[[str], Sequence[str]] = True,
) -> dict[str, float]:
    """BLEU-1 to BLEU-4, CIDEr-D, ROUGE-L, chrF, and what `diversity` tells.

    With `tokenize`, captions are cut by `memefly.text`, or by what is given in its place, such as
    `memefly.metrics.ptb.tokenize`; without, they are words apart by spaces already.
    Raises ValueError if there is not one non-empty list of references for every hypothesis.
    """
    cut = tokenize if callable(tokenize) else text.tokenize if tokenize else str.split
    words = [cut(h) for h in hypotheses]
    return Corpus.of([[cut(r) for r in group] for group in references], words).score() | diversity(words)
