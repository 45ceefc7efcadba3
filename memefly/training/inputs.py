"""Transformed Examples to batches: captions are held in memory as ids, and what is shown of a picture is read when its
batch is made.

    >>> for batch in batches(examples, seed=0, pictures=13, captions=5, groups=1, epoch=0): ...

A picture comes once for all its captions in the batch. Pictures whose longest captions are about equally long share a
batch, so that little of it is padding. Pictures are numbered by their digests, in ascending order, so that nothing
depends on the files that they came in: engines cut their output as they like.

Shapes: P pictures of a batch, C captions of a picture in it, T tokens.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from memefly.datasets.examples import Pictures
from memefly.encoders.feature_store import FLIPPED, FeatureStore
from memefly.errors import FeaturesError, TrainingError
from memefly.spelling import PLAIN, Spelling
from memefly.text import PAD_ID

ALL = (0.0, 1.0)  # a part of the pictures that is all of them
_GOLDEN = (math.sqrt(5) - 1) / 2
_PARSED_AT_ONCE = 1024
Ids = np.ndarray | Sequence[bytes]
_READ_AT_ONCE = 4  # batches, by threads that wait for files
_REMEMBERED = 1024  # pictures
_APART = 1 << 20  # between the numbers of two pictures' captions


class Table(NamedTuple):
    """Pictures of a split, by ascending digest, and the ids of their captions."""

    image_ids: np.ndarray  # bytes (N,), hex
    starts: np.ndarray  # int64 (N + 1,): whose the rows of `tokens` are
    tokens: np.ndarray  # int32 (captions, T)
    captions: np.ndarray  # bytes (captions,), as they were written; none where nobody asks

    def of(self, number: int) -> np.ndarray:
        """Tokens int32 (n, T) of a picture."""
        return self.tokens[self.starts[number] : self.starts[number + 1]]

    def written(self, number: int) -> list[str]:
        return [one.decode("utf-8") for one in self.captions[self.starts[number] : self.starts[number + 1]]]


@dataclass(frozen=True)
class Examples:
    """Where the transformed Examples are: TFRecord files by split, with image_id, captions and tokens; the store that
    has the pictures' features, of which shape; and the files of the Examples that have the pictures themselves, by
    split, which fine-tuning and samples of captions are shown."""

    train: Sequence[str]
    val: Sequence[str]
    store: FeatureStore
    feature_shape: tuple[int, int, int]
    max_length: int
    spelling: Spelling = PLAIN  # by which captions are cut
    pictures: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def table(self) -> Table:
        """Of `train`, without captions."""
        return _table(self.train, self.max_length, written=False)

    @cached_property
    def val_table(self) -> Table:
        return _table(self.val, self.max_length, written=True)

    @cached_property
    def _pictures(self) -> dict[str, Pictures]:
        return {split: Pictures(files) for split, files in self.pictures.items()}

    def features(self, image_ids: Ids, mirrored: np.ndarray | Sequence[bool] = ()) -> np.ndarray:
        """Float16 (P, h, w, D) from the store; of the mirrored picture where `mirrored` says so. Raises `TrainingError`
        where they are gone."""
        found = np.empty((len(image_ids), *self.feature_shape), np.float16)
        for i, image_id in enumerate(image_ids):
            key = image_id.decode() + (FLIPPED if len(mirrored) and mirrored[i] else "")
            features = self.store.get(key)
            if features is None:
                raise FeaturesError(
                    f"the features of picture {key} are gone from {self.store.folder}, or were damaged; run the "
                    "whole pipeline again: ImageFeatures encodes what is missing"
                )
            if features.shape != self.feature_shape:
                raise TrainingError(
                    f"expected features of shape {self.feature_shape}, got {features.shape} of picture {key} in "
                    f"{self.store.folder}"
                )
            found[i] = features
        return found

    def images(self, split: str, image_ids: Ids) -> np.ndarray:
        """Encoded pictures, bytes (P,). Raises `TrainingError` where no files have them."""
        found = np.empty(len(image_ids), object)
        for i, image_id in enumerate(image_ids):
            picture = self._pictures[split].get(image_id.decode()) if split in self._pictures else None
            if picture is None:
                raise TrainingError(f"picture {image_id.decode()} of {split} is in none of the files of its Examples")
            found[i] = picture
        return found


def _table(files: Sequence[str], max_length: int, *, written: bool) -> Table:
    spec = {"image_id": tf.io.FixedLenFeature([], tf.string), "tokens": tf.io.RaggedFeature(tf.int64)}
    spec |= {"captions": tf.io.RaggedFeature(tf.string)} if written else {}
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    records = tf.data.TFRecordDataset(sorted(files), compression_type=compression).batch(_PARSED_AT_ONCE)
    ids, rows, tokens, captions = [], [], [], []
    for one in records.map(lambda serialized: tf.io.parse_example(serialized, spec)):
        ids.append(one["image_id"].numpy())
        rows.append(one["tokens"].row_lengths().numpy() // max_length)
        tokens.append(one["tokens"].flat_values.numpy().astype(np.int32).reshape(-1, max_length))
        if written:
            captions.append(one["captions"].flat_values.numpy())
    counts = np.concatenate([np.zeros(0, np.int64), *rows])
    image_ids = np.concatenate([np.zeros(0, "S64"), *(one.astype("S64") for one in ids)])
    order = np.argsort(image_ids, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)])
    moved = np.concatenate([np.zeros(0, np.int64), *(np.arange(starts[i], starts[i + 1]) for i in order)])
    said = np.concatenate([np.zeros(0, object), *captions])
    return Table(
        image_ids[order],
        np.concatenate([[0], np.cumsum(counts[order])]),
        np.concatenate([np.zeros((0, max_length), np.int32), *tokens])[moved],
        said[moved] if written else said,
    )


class One(NamedTuple):
    """A picture of `val`: what is shown of it (features float16 (h, w, D), or the encoded picture), tokens int32 (n, T)
    and captions."""

    image_id: bytes
    shown: np.ndarray | bytes
    tokens: np.ndarray
    captions: list[str]


def validation(examples: Examples, pictures: int, source: str = "features") -> Iterator[One]:
    """The first `pictures` of `val`; `source`: `features`, or `image`."""
    table = examples.val_table
    for number in range(min(pictures, len(table.image_ids))):
        ids = table.image_ids[number : number + 1]
        (shown,) = examples.features(ids) if source == "features" else examples.images("val", ids)
        yield One(ids[0], shown, table.of(number), table.written(number))


def _within(pictures: int, part: tuple[float, float]) -> np.ndarray:
    """Numbers of the pictures that belong to a part of all, such as (0.75, 1). They fall on [0, 1) by the golden ratio,
    so that a part is spread evenly."""
    low, high = part
    place = np.arange(pictures) * _GOLDEN % 1.0
    return np.flatnonzero((place >= low) & (place < high))


def count_groups(examples: Examples, captions: int, part: tuple[float, float] = ALL) -> list[int]:
    """For r = 0, 1, …: how many pictures of this part of `train` have an r-th group of `captions` captions."""
    rows = np.diff(examples.table.starts)
    groups = -(-rows[_within(len(rows), part)] // captions)
    return [int(n) for n in np.cumsum(np.bincount(groups)[::-1])[::-1][1:]] if len(groups) else []


def captions_of_train(examples: Examples) -> Iterator[np.ndarray]:
    """Captions of `train` by picture, int32 ids from the <s> on: to the </s>, or to where one was cut."""
    return (row[row != PAD_ID] for row in examples.table.tokens)


def training_references(examples: Examples) -> list[list[tuple[int, ...]]]:
    """Captions of every picture of `train`, by its number, as ids from the first word to the </s>."""
    table = examples.table
    return [
        [tuple(int(i) for i in row[1:] if i != PAD_ID) for row in table.of(number)]
        for number in range(len(table.image_ids))
    ]


def batches(
    examples: Examples,
    *,
    seed: int,
    pictures: int,
    captions: int,
    groups: int,
    epoch: int,
    bucket: int = 0,
    flip: float = 0.0,
    source: str = "features",
    part: tuple[float, float] = ALL,
    skip: int = 0,
) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """One epoch of a part of `train`, without its first `skip` batches, in an order that (seed, epoch) decides.

    A picture with more than C captions comes several times, `groups` at most, each time with C others that are about
    equally long (where there is a `bucket`), and anywhere in the epoch. Elements are (source, tokens, index): features
    float16 (P, h, w, D) or, with `source="image"`, encoded pictures string (P,); tokens int32 (P, C, T') cut to the
    longest caption of the batch, a picture's longest caption first, rows that are all padding behind where it has fewer
    than C left; and each picture's number, int64 (P,). The last batches may be smaller. Raises what `Examples.features`
    and `Examples.images` raise.
    """
    order_seed = hash_seed(seed, epoch)
    plan = _Plan(examples.table, order_seed, captions, groups, bucket, part)

    def shown(index: np.ndarray) -> np.ndarray:
        ids = examples.table.image_ids[index]
        if source == "image":
            return examples.images("train", ids)
        return examples.features(ids, _uniform(order_seed + 1, index) < flip)

    with ThreadPoolExecutor(_READ_AT_ONCE) as readers:
        waiting: deque = deque()
        for batch in itertools.islice(plan.batches(pictures), skip, None):
            tokens, index = plan.tokens(batch)
            waiting.append((readers.submit(shown, index), tokens, index))
            if len(waiting) > _READ_AT_ONCE:
                yield _tensors(waiting.popleft())
        while waiting:
            yield _tensors(waiting.popleft())


def _tensors(batch: tuple[Future, np.ndarray, np.ndarray]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    future, tokens, index = batch
    return tf.constant(future.result()), tf.constant(tokens), tf.constant(index)


class _Plan:
    """Which captions come when in an epoch: every group of every picture, in an order that a seed decides."""

    def __init__(self, table: Table, seed: int, captions: int, groups: int, bucket: int, part: tuple[float, float]):
        self._table, self._seed, self._captions, self._bucket = table, seed, captions, bucket
        self._lengths = lru_cache(_REMEMBERED)(self._lengths_of)
        self._order = lru_cache(_REMEMBERED)(self._order_of)
        self._numbers = _within(len(table.image_ids), part)
        rows = np.diff(table.starts)[self._numbers]
        self._groups = np.minimum(-(-rows // captions), groups)  # that come of each
        self._firsts = np.cumsum(self._groups) - self._groups
        self._turns = np.argsort(_mix(seed, np.arange(int(self._groups.sum()))), kind="stable")

    def batches(self, pictures: int) -> Iterator[list[tuple[int, np.ndarray]]]:
        """Of `pictures` pictures each, by number with the places of its captions, whose longest are in one bucket; what
        is left over at the end."""
        open_: dict[int, list] = defaultdict(list)
        for start in range(0, len(self._turns), _PARSED_AT_ONCE):
            turns = self._turns[start : start + _PARSED_AT_ONCE]
            for place, turn in zip(np.searchsorted(self._firsts, turns, side="right") - 1, turns):
                number = int(self._numbers[place])
                rows = self._rows(number, int(turn - self._firsts[place]), int(self._groups[place]))
                key = int(self._lengths(number)[rows[0]]) // self._bucket if self._bucket else 0
                open_[key].append((number, rows))
                if len(open_[key]) == pictures:
                    yield open_.pop(key)
        yield from (open_[key] for key in sorted(open_))

    def tokens(self, batch: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens int32 (P, C, T') and numbers int64 (P,) of a batch."""
        longest = max(int(self._lengths(number)[rows[0]]) for number, rows in batch)
        tokens = np.full((len(batch), self._captions, longest), PAD_ID, np.int32)
        for i, (number, rows) in enumerate(batch):
            tokens[i, : len(rows)] = self._table.of(number)[rows, :longest]
        return tokens, np.array([number for number, _ in batch], np.int64)

    def _rows(self, number: int, turn: int, count: int) -> np.ndarray:
        """The captions of a picture's group, of the `count` that come, the longest first, which is how networks are
        fastest."""
        order, C = self._order(number), self._captions
        groups = -(-len(order) // C)
        group = turn
        if groups > 1:  # any `count` of them, in any order
            group = int(np.argsort(_mix(self._seed + 2, number * _APART + np.arange(groups)), kind="stable")[turn])
        mine = order[group * C : (group + 1) * C]
        return mine[np.argsort(-self._lengths(number)[mine], kind="stable")]

    def _lengths_of(self, number: int) -> np.ndarray:
        return (self._table.of(number) != PAD_ID).sum(axis=1)

    def _order_of(self, number: int) -> np.ndarray:
        lengths = self._lengths(number)
        order = np.argsort(_mix(self._seed, number * _APART + np.arange(len(lengths))), kind="stable")
        return order[np.argsort(lengths[order] // self._bucket, kind="stable")] if self._bucket else order


def _mix(seed: int, numbers: np.ndarray) -> np.ndarray:
    """Numbers to uint64 that look drawn at random (SplitMix64; Steele et al., OOPSLA 2014), the same everywhere."""
    mixed = (numbers.astype(np.uint64) + np.uint64(seed) * np.uint64(0x100000001)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _uniform(seed: int, numbers: np.ndarray) -> np.ndarray:
    """Float64 in [0, 1)."""
    return (_mix(seed, numbers) >> np.uint64(11)) * 2.0**-53


def hash_seed(seed: int, salt: int) -> int:
    """A 31-bit seed that no nearby (seed, salt) shares."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{salt}".encode()).digest()[:4], "big") >> 1
