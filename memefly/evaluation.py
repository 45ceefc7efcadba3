"""An exported model on a data set: every metric with its interval, and beside another model, pair by pair.

    >>> examples = read("data/flickr8k", "eval", Splitting())      # the data set names its splits
    >>> result = evaluate("root/serving/captioner", examples)
    >>> result.metrics["bleu4"], result.intervals["bleu4"]

Captions are those of the model's own search, the best of each picture, or several that it draws; references are all
captions that people wrote of it. How likely the model takes these is told in bits a character
(`memefly.metrics.information`), with the picture and without one, of exported SavedModels. What it may have learnt are
the captions of train and val. `memefly.metrics.judgement` says what is told of what.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from memefly import images, storage, text
from memefly.cleaning import Cleaning
from memefly.datasets.splits import Splitting
from memefly.errors import DataError, PictureError
from memefly.exported import loading
from memefly.exported.likelihood import Foresight
from memefly.exported.saved_model import ExportedModel
from memefly.metrics import Corpus, Difference, Interval
from memefly.metrics import compare as compare_corpora
from memefly.metrics import intervals as intervals_of
from memefly.metrics.information import Foreseen
from memefly.metrics.judgement import judge
from memefly.metrics.learnt import Learnt, Saying
from memefly.storage import Place

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
    learnt: Learnt  # captions of train and val

    def people(self, cut: Callable[[str], Sequence[str]] = text.tokenize) -> list[list[Saying]]:
        return [[Saying.of(c, group, cut) for c in written] for written, group in zip(self.written, self.groups)]


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
    data: str | Place,
    split: str,
    splitting: Splitting,
    pictures: int | None = None,
    cut: Callable[[str], Sequence[str]] = text.tokenize,
    cleaning: Cleaning | None = None,
) -> Examples:
    """The first `pictures` (None: all) of a split. Each caption goes through the steps of `cleaning` that ask no other
    caption. Pictures that cannot be read, or have no caption left, are passed
    over, as the pipeline quarantines them. Raises `DataError` where fewer than two are left."""
    data = storage.at(data)
    found, unread, learnt = Examples([], [], [], [], [], Learnt(())), [], []
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
            learnt += [Saying.of(caption, record.group, cut) for caption in written if caption]
    if unread:
        log.warning("passes over %d pictures of %s that cannot be read; the first: %s", len(unread), split, unread[0])
    if len(found.pictures) < 2:
        raise DataError(f"{data}: expected two pictures at least in the split {split!r}, found {len(found.pictures)}")
    return dataclasses.replace(found, learnt=Learnt(learnt))


def evaluate(
    model: str | Place,
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
    foresight = Foresight(loaded) if isinstance(loaded, ExportedModel) else None
    many = len(examples.pictures)
    said: list[str] = []
    foreseen: list[Foreseen] = []
    for seed in range(draws):
        drawn = {"seed": seed} if draws > 1 else {}
        for start in range(0, many, BATCH):
            batch = examples.pictures[start : start + BATCH]
            said += [row[0].text if row else "" for row in loaded.caption(batch, **drawn, **knobs)]
            if foresight and not seed:
                foreseen += foresight.of(batch, examples.written[start : start + BATCH])
            on_captioned(len(batch))
    of_pictures = [
        [Saying.of(caption, group, cut) for caption in said[i::many]] for i, group in enumerate(examples.groups)
    ]
    judgement = judge(examples.people(cut), of_pictures, examples.learnt, foreseen or None, embed)
    return Evaluation(
        str(loaded.folder),
        str(loaded.manifest.get("version", loaded.folder.name)),
        many,
        judgement.metrics,
        intervals_of(judgement.corpus),
        judgement.constant_caption,
        said,
        judgement.corpus,
    )


def compare(ours: Evaluation, theirs: Evaluation) -> dict[str, Difference]:
    """Ours less theirs on the same pictures, by the paired bootstrap."""
    return compare_corpora(ours.corpus, theirs.corpus)
