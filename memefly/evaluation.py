"""An exported model on a data set: every metric with its interval, and beside another model, pair by pair.

    >>> examples = read("data/flickr8k", "eval", Splitting())      # the data set names its splits
    >>> result = evaluate("root/serving/captioner", examples)
    >>> result.metrics["bleu4"], result.intervals["bleu4"]

Captions are those of the model's own search, the best of each picture; references are all captions that people wrote of
it. How likely the model takes these is told in bits a character (`memefly.metrics.information`), with the picture and
without one, of exported SavedModels. Novelty is against the captions of train and val, which the model may have seen.
Template recall is told where the pictures are of groups that have captions there too, as memes are.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from memefly import images, text
from memefly.cleaning import Cleaning
from memefly.datasets.splits import Splitting
from memefly.errors import DataError, PictureError
from memefly.exported import loading
from memefly.exported.likelihood import likelihood_of
from memefly.exported.saved_model import ExportedModel
from memefly.metrics import (
    Corpus,
    Difference,
    Interval,
    best_constant_caption,
    cider_of_others,
    diversity,
    novelty,
    repetition,
    self_bleu,
    valid_share,
)
from memefly.metrics import compare as compare_corpora
from memefly.metrics import intervals as intervals_of
from memefly.metrics.boxes import Boxes
from memefly.metrics.cider import CiderScorer
from memefly.metrics.information import Written, bits_a_character
from memefly.metrics.mauve import LEAST, frechet, mauve
from memefly.metrics.templates import TemplateClassifier, template_recall

log = logging.getLogger("memefly.evaluation")

BATCH = 16


@dataclass(frozen=True)
class Examples:
    """The pictures that are judged, and what was written of others."""

    images: list[str]  # as the data set names them
    pictures: list[bytes]  # fit for the graph
    references: list[list[list[str]]]  # words
    written: list[list[str]]  # the same captions, as people wrote them
    groups: list[str]
    training: list[list[str]]  # captions of train and val
    by_group: dict[str, list[list[str]]]  # the same, where their picture has a group
    boxes: dict[str, list[int]]  # and how many text boxes each of these has


@dataclass(frozen=True)
class Evaluation:
    model: str
    version: str
    pictures: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]  # 95 %, of those metrics that have one
    constant_caption: str
    captions: list[str] = field(repr=False)
    corpus: Corpus = field(repr=False)


def read(
    data: str | Path,
    split: str,
    splitting: Splitting,
    pictures: int | None = None,
    cut: Callable[[str], Sequence[str]] = text.tokenize,
    cleaning: Cleaning | None = None,
) -> Examples:
    """The first `pictures` (None: all) of a split. Each caption goes through the steps of `cleaning` that ask no other
    caption. Pictures that cannot be read, or have no caption left, are passed
    over, as the pipeline quarantines them. Raises `DataError` where fewer than two are left."""
    data = Path(data)
    found, unread = Examples([], [], [], [], [], [], defaultdict(list), defaultdict(list)), []
    for where, record in splitting.of(data, (split, "train", "val")):
        written = [cleaning.clean(c).caption for c in record.captions] if cleaning else record.captions
        captions = [list(cut(caption)) for caption in written if caption]
        if not captions:
            continue
        if where == split and len(found.pictures) != pictures:
            try:
                found.pictures.append(images.read(data / record.image).data)
            except PictureError as error:
                unread.append(f"{record.image}: {error}")
                continue
            found.images.append(record.image)
            found.references.append(captions)
            found.written.append([caption for caption in written if caption])
            found.groups.append(record.group)
        if where in ("train", "val") and where != split:
            found.training.extend(captions)
            if record.group:
                found.by_group[record.group].extend(captions)
                found.boxes[record.group].extend(1 + caption.count("\n") for caption in written if caption)
    if unread:
        log.warning("passes over %d pictures of %s that cannot be read; the first: %s", len(unread), split, unread[0])
    if len(found.pictures) < 2:
        raise DataError(f"{data}: expected two pictures at least in the split {split!r}, found {len(found.pictures)}")
    return found


def evaluate(
    model: str | Path,
    examples: Examples,
    cut: Callable[[str], Sequence[str]] = text.tokenize,
    on_captioned: Callable[[int], object] = lambda pictures: None,
    draws: int = 1,
    embed: Callable[[Sequence[str]], np.ndarray] | None = None,
    **knobs,
) -> Evaluation:
    """`draws` captions of each picture, with the seeds from 0 on, where a model draws. `embed` makes points of captions
    (`memefly.metrics.sentences`), whose distance to people's is told then. `knobs` as in `ExportedModel.caption`.
    Raises `ModelError`."""
    loaded = loading.load(model)
    foresight = _Foresight(loaded) if isinstance(loaded, ExportedModel) else None
    said: list[str] = []
    for seed in range(draws):
        drawn = {"seed": seed} if draws > 1 else {}
        for start in range(0, len(examples.pictures), BATCH):
            batch = examples.pictures[start : start + BATCH]
            said += [row[0].text if row else "" for row in loaded.caption(batch, **drawn, **knobs)]
            if foresight and not seed:
                foresight.add(batch, examples.written[start : start + BATCH])
            on_captioned(len(batch))
    references, groups = examples.references * draws, examples.groups * draws
    hypotheses = [list(cut(caption)) for caption in said]
    scorer = CiderScorer(references)
    corpus = Corpus.of(references, hypotheses, scorer)
    constant, constant_bleu4 = best_constant_caption(references, hypotheses)
    metrics = corpus.score()
    metrics |= {"constant_bleu4": constant_bleu4, "bleu4_gain": metrics["bleu4"] - constant_bleu4}
    metrics["others_cider"] = cider_of_others(references, hypotheses, scorer=scorer)
    metrics["cider_gain"] = metrics["cider"] - metrics["others_cider"]
    metrics |= diversity(hypotheses)
    metrics |= {"self_bleu4": self_bleu(hypotheses), "valid_share": valid_share(hypotheses)}
    people = [reference for of_picture in examples.references for reference in of_picture]
    metrics |= {"repetition": repetition(hypotheses), "people_repetition": repetition(people)}
    metrics |= foresight.score() if foresight else {}
    metrics |= distances(examples.references, hypotheses, draws, embed) if embed else {}
    if examples.training:
        metrics |= novelty(hypotheses, examples.training).score()
    of_groups = [(h, g) for h, g in zip(hypotheses, groups) if g in examples.by_group]
    if of_groups and len(examples.by_group) > 1:
        classifier = TemplateClassifier(examples.by_group)
        metrics["template_recall"] = template_recall(classifier, *map(list, zip(*of_groups)))
    if any(n > 1 for numbers in examples.boxes.values() for n in numbers):
        counted = [(g, 1 + caption.count("\n")) for caption, g in zip(said, groups) if g in examples.boxes]
        metrics["boxes_share"] = Boxes(examples.boxes).share(counted)
    version = str(loaded.manifest.get("version", loaded.folder.name))
    return Evaluation(str(loaded.folder), version, len(said), metrics, intervals_of(corpus), constant, said, corpus)


def compare(ours: Evaluation, theirs: Evaluation) -> dict[str, Difference]:
    """Ours less theirs on the same pictures, by the paired bootstrap."""
    return compare_corpora(ours.corpus, theirs.corpus)


def distances(
    references: Sequence[Sequence[Sequence[str]]],
    hypotheses: Sequence[Sequence[str]],
    draws: int,
    embed: Callable[[Sequence[str]], np.ndarray],
) -> dict[str, float]:
    """`mauve` and `frechet` of what is said, `draws` captions a picture, to as many that people wrote; and as the floor
    `people_mauve` and `people_frechet`, of as many others of theirs to the same. Nothing where there are too few."""
    drawer = np.random.default_rng(0)
    people: tuple[list[str], list[str]] = ([], [])
    for written in references:
        chosen = [" ".join(written[i]) for i in drawer.permutation(len(written))[: 2 * draws]]
        half = (len(chosen) + 1) // 2
        people[0].extend(chosen[:half])
        people[1].extend(chosen[half:])
    if min(len(people[1]), len(hypotheses)) < LEAST:
        return {}
    said, first, second = (embed(captions) for captions in ([" ".join(words) for words in hypotheses], *people))
    return {
        "mauve": mauve(said, first),
        "people_mauve": mauve(second, first),
        "frechet": frechet(said, first),
        "people_frechet": frechet(second, first),
    }


class _Foresight:
    """Collects how likely a model takes what people wrote, picture by picture."""

    def __init__(self, model: ExportedModel):
        self._model, self._likelihood = model, likelihood_of(model.folder)
        self._captions: list[Written] = []
        self._shown: list[float] = []
        self._not_shown: list[float] = []

    def add(self, pictures: Sequence[bytes], captions: Sequence[Sequence[str]]) -> None:
        for features, written in zip(self._model.features(pictures), captions):
            counted = [self._likelihood.written(caption) for caption in written]
            self._captions += counted
            self._shown += self._likelihood.log_probs(features, counted).tolist()
            self._not_shown += self._likelihood.log_probs(None, counted).tolist()

    def score(self) -> dict[str, float]:
        """`bits_a_character`, and `bits_unseen` with no picture: their difference is what looking is worth."""
        return {
            "bits_a_character": bits_a_character(self._shown, self._captions),
            "bits_unseen": bits_a_character(self._not_shown, self._captions),
        }
