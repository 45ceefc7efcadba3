"""All that is told of a model's captions of some pictures, for `memefly evaluate` and the pipeline's gate alike.

    >>> judgement = judge(people, said, Learnt(training))
    >>> judgement.metrics["bleu4"], judgement.corpus, judgement.constant_caption

Of each picture several captions may be said. Scores by references, and what they are beside a constant caption or other
pictures, are told of the first of them, all else of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from memefly.metrics.cider import CiderScorer
from memefly.metrics.constant import best_constant_caption
from memefly.metrics.corpus import Corpus
from memefly.metrics.diversity import diversity, self_bleu
from memefly.metrics.form import valid_share
from memefly.metrics.grounding import cider_of_others
from memefly.metrics.information import Foreseen, bits
from memefly.metrics.learnt import Learnt, Saying
from memefly.metrics.mauve import distances


@dataclass(frozen=True)
class Judgement:
    corpus: Corpus  # of the first caption of each picture
    metrics: dict[str, float]
    constant_caption: str


def judge(
    people: Sequence[Sequence[Saying]],
    said: Sequence[Sequence[Saying]],
    learnt: Learnt,
    foreseen: Sequence[Foreseen] | None = None,
    embed: Callable[[Sequence[str]], np.ndarray] | None = None,
    scorer: CiderScorer | None = None,
) -> Judgement:
    """Of each picture what people wrote and what a model says, one caption at least. `foreseen`: how well it foresees
    each picture's, where that is known; `embed` makes points of captions (`sentences`), whose distance to people's is
    told then; `scorer`: that of what people wrote, where there is one already."""
    references = [[caption.words for caption in captions] for captions in people]
    first = [captions[0].words for captions in said]
    everything = [caption.words for captions in said for caption in captions]
    scorer = scorer or CiderScorer(references)
    corpus = Corpus.of(references, first, scorer, [both.shown for both in foreseen] if foreseen else None)
    constant, constant_bleu4 = best_constant_caption(references, first)
    metrics = {"pictures": len(said), "captions": len(everything), **corpus.score(), **diversity(everything)}
    metrics |= {"constant_bleu4": constant_bleu4, "bleu4_gain": metrics["bleu4"] - constant_bleu4}
    metrics["others_cider"] = cider_of_others(references, first, scorer=scorer)
    metrics["cider_gain"] = metrics["cider"] - metrics["others_cider"]
    metrics |= {"self_bleu4": self_bleu(everything), "valid_share": valid_share(everything)}
    metrics |= learnt.score(said, people)
    if foreseen:
        metrics["bits_unseen"] = bits([both.unseen for both in foreseen])
        metrics["looking_gain"] = metrics["bits_unseen"] - metrics["bits_a_character"]
        metrics |= _by_novelty(foreseen, people, learnt)
    if embed:
        written = [[" ".join(words) for words in captions] for captions in references]
        metrics |= distances([" ".join(words) for words in everything], written, embed)
    return Judgement(corpus, metrics, constant)


def _by_novelty(foreseen: Sequence[Foreseen], people: Sequence[Sequence[Saying]], learnt: Learnt) -> dict[str, float]:
    """Bits of groups that were learnt from and of those that are new, where there are both."""
    known = [captions[0].group in learnt.by_group for captions in people]
    if all(known) or not any(known):
        return {}
    return {
        name: bits([both.shown for both, is_known in zip(foreseen, known) if is_known == wanted])
        for name, wanted in (("bits_known_groups", True), ("bits_new_groups", False))
    }
