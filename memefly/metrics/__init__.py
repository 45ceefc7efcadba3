"""Caption metrics: pure functions from references and hypotheses to a dict.

    >>> score(references=[["a cat on a mat", "the cat"]], hypotheses=["a cat on the mat"])["bleu1"]

`references` holds a list of captions for every hypothesis. BLEU and ROUGE-L are fractions, not
percentages; CIDEr is on its own scale, on which people agree with one another at about 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from memefly import text
from memefly.metrics.bleu import bleu
from memefly.metrics.cider import cider
from memefly.metrics.constant import best_constant_caption
from memefly.metrics.diversity import diversity
from memefly.metrics.rouge import rouge_l

__all__ = ["best_constant_caption", "bleu", "cider", "diversity", "rouge_l", "score"]


def score(references: Sequence[Sequence[str]], hypotheses: Sequence[str], tokenize: bool = True) -> dict[str, float]:
    """BLEU-1 to BLEU-4, CIDEr-D, ROUGE-L and the number of distinct captions.

    With `tokenize`, captions are cut by `memefly.text`; without, they are words apart by spaces already.
    Raises ValueError if there is not one non-empty list of references for every hypothesis.
    """
    cut = text.tokenize if tokenize else str.split
    references = [[cut(r) for r in group] for group in references]
    hypotheses = [cut(h) for h in hypotheses]
    return (
        bleu(references, hypotheses)
        | cider(references, hypotheses)
        | rouge_l(references, hypotheses)
        | diversity(hypotheses)
    )
