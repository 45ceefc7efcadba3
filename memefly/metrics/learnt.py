"""What a model says beside the captions that it learnt from, and beside those that were held back.

    >>> learnt = Learnt([Saying.of("such wow", "doge"), Saying.of("no", "grumpy-cat"), …])
    >>> learnt.score([[Saying.of("much cat", "doge")]], [[Saying.of("very dog", "doge"), …]])["template_recall"]

A model of memes is to do what people do, no more and no less, so most is told of both: `repetition` of what is said,
and `people_repetition` of as many captions that people wrote of the same pictures. `repetition_excess` is what the one
is above the other.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from memefly import text
from memefly.metrics.boxes import Boxes
from memefly.metrics.diversity import NoveltyIndex, repetition
from memefly.metrics.kneser_ney import KneserNey
from memefly.metrics.spliced import SpanIndex, spliced_share
from memefly.metrics.templates import TemplateClassifier, template_recall


class Saying(NamedTuple):
    """A caption of a picture."""

    words: tuple[str, ...]
    group: str  # of the picture, "" for none
    boxes: int

    @classmethod
    def of(cls, caption: str, group: str = "", cut: Callable[[str], Sequence[str]] = text.tokenize) -> Saying:
        return cls(tuple(cut(caption)), group, 1 + caption.count("\n"))


class Learnt:
    """Captions that a model may have learnt by heart."""

    def __init__(self, captions: Iterable[Saying]):
        self.captions = sorted(captions)  # what is drawn of them hangs on their order, and that must hang on nothing
        self.by_group: dict[str, list[Saying]] = defaultdict(list)
        for caption in self.captions:
            if caption.group:
                self.by_group[caption.group].append(caption)

    @functools.cached_property
    def novelty(self) -> NoveltyIndex:
        return NoveltyIndex(_words(self.captions))

    @functools.cached_property
    def spans(self) -> SpanIndex:
        return SpanIndex(_words(self.captions))

    @functools.cached_property
    def classifier(self) -> TemplateClassifier | None:
        """Where the pictures are of two groups at least."""
        groups = {group: _words(captions) for group, captions in self.by_group.items()}
        return TemplateClassifier(groups) if len(groups) > 1 else None

    @functools.cached_property
    def boxes(self) -> Boxes | None:
        """Where a caption has more than one."""
        numbers = {group: [caption.boxes for caption in captions] for group, captions in self.by_group.items()}
        return Boxes(numbers) if any(n > 1 for of_group in numbers.values() for n in of_group) else None

    def score(self, said: Sequence[Sequence[Saying]], people: Sequence[Sequence[Saying]]) -> dict[str, float]:
        """Of every picture what a model says, and what people wrote and it has not seen.

        `copied_share` and `nearest_similarity` (`diversity.Novelty`); and beside people, where they can be told,
        `near_copied_share` (the same), `repetition`, `spliced_share`, `template_recall`, `boxes_share`, and
        `ngram_bits`: bits a word under a 5-gram model of all that is held back, beside those of as many captions that
        were learnt from.
        """
        if not self.captions:
            return {}
        ours, theirs = _flat(said), _flat(as_many(people, said))
        novelty, peoples = (self.novelty.of(_words(captions)).score() for captions in (ours, theirs))
        found = {name: novelty[name] for name in ("copied_share", "nearest_similarity")}
        foreseen, learnt = KneserNey(_words(_flat(people))), _flat(as_many(self._like(people), said))
        for name, values in {
            "repetition": (repetition(_words(captions)) for captions in (ours, theirs)),
            "near_copied_share": (scores["near_copied_share"] for scores in (novelty, peoples)),
            "spliced_share": (spliced_share(self.spans, _words(captions)) for captions in (ours, theirs)),
            "template_recall": map(self._recall, (ours, theirs)),
            "boxes_share": map(self._boxes_share, (ours, theirs)),
            "ngram_bits": (math.log2(foreseen.perplexity(_words(captions))) for captions in (ours, learnt)),
        }.items():
            of_ours, of_people = values
            if of_ours is not None and of_people is not None:
                found |= {name: of_ours, f"people_{name}": of_people, f"{name}_excess": of_ours - of_people}
        return found

    def _like(self, people: Sequence[Sequence[Saying]]) -> list[list[Saying]]:
        """Of every picture what was learnt of its group, or anything."""
        return [self.by_group.get(captions[0].group, self.captions) for captions in people]

    def _recall(self, captions: Sequence[Saying]) -> float | None:
        known = [caption for caption in captions if caption.group in self.by_group]
        if not known or self.classifier is None:
            return None
        return template_recall(self.classifier, _words(known), [caption.group for caption in known])

    def _boxes_share(self, captions: Sequence[Saying]) -> float | None:
        known = [(caption.group, caption.boxes) for caption in captions if caption.group in self.by_group]
        return self.boxes.share(known) if known and self.boxes is not None else None


def as_many(written: Sequence[Sequence[Saying]], said: Sequence[Sequence[Saying]], seed: int = 0) -> list[list[Saying]]:
    """Of what was written of each picture as much as is said of it, drawn with `seed`; all where that is less."""
    drawer = np.random.default_rng(seed)
    return [
        [captions[i] for i in drawer.choice(len(captions), min(len(captions), len(ours)), replace=False)]
        for captions, ours in zip(written, said)
    ]


def _flat(captions: Iterable[Sequence[Saying]]) -> list[Saying]:
    return [caption for of_picture in captions for caption in of_picture]


def _words(captions: Iterable[Saying]) -> list[tuple[str, ...]]:
    return [caption.words for caption in captions]
