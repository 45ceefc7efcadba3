"""Transformed Examples from TFRecords to batches, streamed: no more than a buffer of them is ever in memory.

    >>> for batch in batches(examples, seed=0, pictures=13, captions=5, groups=1, epoch=0): ...

A picture comes once for all its captions in the batch. Pictures whose longest captions are about equally long share a
batch, so that little of it is padding.

Shapes: P pictures of a batch, C captions of a picture in it, T tokens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from memefly.spelling import PLAIN, Spelling
from memefly.text import PAD_ID

ALL = (0.0, 1.0)  # a part of the pictures that is all of them
_PASSES = 16  # over the files, an epoch at most
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Examples:
    """Where the transformed Examples are: TFRecord files by split, and the shape that features have."""

    train: Sequence[str]
    val: Sequence[str]
    feature_shape: tuple[int, int, int]
    max_length: int
    spelling: Spelling = PLAIN  # by which captions are cut


def read(files: Sequence[str], examples: Examples) -> tf.data.Dataset:
    """Transformed Examples in file order: features float16 (h, w, D), flipped float16 (h, w, D) or empty (0, w, D),
    tokens int32 (n, T), captions string (n,), image string ()."""
    spec = {
        "features": tf.io.FixedLenFeature([], tf.string),
        "features_flipped": tf.io.RaggedFeature(tf.string),  # one or none
        "tokens": tf.io.RaggedFeature(tf.int64),
        "captions": tf.io.RaggedFeature(tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
    }

    def parse(serialized):
        one = tf.io.parse_single_example(serialized, spec)
        return {
            "features": tf.reshape(tf.io.decode_raw(one["features"], tf.float16), examples.feature_shape),
            "flipped": tf.reshape(
                tf.io.decode_raw(tf.strings.reduce_join(one["features_flipped"]), tf.float16),
                [-1, *examples.feature_shape[1:]],
            ),
            "tokens": tf.reshape(tf.cast(one["tokens"], tf.int32), [-1, examples.max_length]),
            "captions": one["captions"],
            "image": one["image"],
        }

    return _records(files).map(parse, num_parallel_calls=2, deterministic=True)


def _records(files: Sequence[str]) -> tf.data.Dataset:
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    return tf.data.TFRecordDataset(sorted(files), compression_type=compression)


def _tokens(examples: Examples) -> tf.data.Dataset:
    """Tokens int32 (n, T) of every picture of `train`, in file order."""
    spec = {"tokens": tf.io.RaggedFeature(tf.int64)}

    def parse(serialized):
        tokens = tf.io.parse_single_example(serialized, spec)["tokens"]
        return tf.reshape(tf.cast(tokens, tf.int32), [-1, examples.max_length])

    return _records(examples.train).map(parse, num_parallel_calls=2, deterministic=True)


def _within(part: tuple[float, float]):
    """Whether the picture with a number in file order, int64 (), belongs to a part of all, such as (0.75, 1). Numbers
    fall on [0, 1) by the golden ratio, so that a part is spread evenly over the files."""
    low, high = part

    def within(index):
        place = tf.math.floormod(tf.cast(index, tf.float64) * _GOLDEN, 1.0)
        return (place >= low) & (place < high)

    return within


def count_groups(examples: Examples, captions: int, part: tuple[float, float] = ALL) -> list[int]:
    """For r = 0, 1, …: how many pictures of this part of `train` have an r-th group of `captions` captions."""
    counts: list[int] = []
    within = _within(part)
    sizes = _tokens(examples).enumerate().filter(lambda i, _: within(i)).map(lambda _, tokens: tf.shape(tokens)[0])
    for n in sizes.as_numpy_iterator():
        groups = math.ceil(int(n) / captions)
        counts.extend([0] * (groups - len(counts)))
        for r in range(groups):
            counts[r] += 1
    return counts


def captions_of_train(examples: Examples) -> Iterator[np.ndarray]:
    """Captions of `train` in file order, int32 ids from the <s> on: to the </s>, or to where one was cut."""
    for tokens in _tokens(examples).as_numpy_iterator():
        yield from (row[row != PAD_ID] for row in tokens)


def training_references(examples: Examples) -> list[list[tuple[int, ...]]]:
    """Captions of every picture of `train`, in file order, as ids from the first word to the </s>."""
    return [
        [tuple(int(i) for i in row[1:] if i != PAD_ID) for row in tokens]
        for tokens in _tokens(examples).as_numpy_iterator()
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
    shuffle_buffer: int = 512,
    source: str = "features",
    part: tuple[float, float] = ALL,
) -> tf.data.Dataset:
    """One epoch of a part of `train`, in an order that (seed, epoch) decides; streams, holding no more than
    `shuffle_buffer` pictures in memory.

    A picture with more than C captions comes several times, `groups` at most, each time with C others that are about
    equally long (where there is a `bucket`), and all over the epoch: in several passes over the files, so that the
    captions of one picture do not crowd a batch, and without ever being copied for them. Elements are (source, tokens,
    index): features float16 (P, h, w, D) or, with `source="image"`, encoded pictures string (P,); tokens int32
    (P, C, T') cut to the longest caption of the batch, a picture's longest caption first, rows that are all padding
    behind where it has fewer than C left; and each picture's number in file order, int64 (P,). The last batches may be
    smaller.
    """
    C, order_seed, within, passes = captions, hash_seed(seed, epoch), _within(part), min(groups, _PASSES)

    def lengths(tokens):
        return tf.reduce_sum(tf.cast(tf.not_equal(tokens, PAD_ID), tf.int32), axis=-1)

    def groups_of(one, index, turn):
        """The groups of a picture that come in this pass: what is shown, tokens (C, T), its number."""
        salt = tf.cast(index, tf.int32)
        n = tf.shape(one["tokens"])[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(n), [order_seed, salt])
        tokens = tf.gather(one["tokens"], order)
        count = tf.minimum((n + C - 1) // C, groups)  # of its groups
        if bucket:
            tokens = tf.gather(tokens, tf.argsort(lengths(tokens) // bucket, stable=True))
        when = tf.random.experimental.stateless_shuffle(tf.range((n + C - 1) // C), [order_seed + 2, salt])[:count]
        first, last = ((t * count + passes - 1) // passes for t in (turn, turn + 1))
        shown = one[source]
        if flip and source == "features":
            mirrored = tf.random.stateless_uniform([], [order_seed + 1, salt]) < flip
            there = tf.shape(one["flipped"])[0] > 0
            shown = tf.cond(mirrored & there, lambda: one["flipped"], lambda: shown)
            shown = tf.ensure_shape(shown, examples.feature_shape)

        def group(r):
            mine = tokens[r * C : (r + 1) * C]  # (≤ C, T)
            # Longest first, which is how networks are fastest.
            mine = tf.gather(mine, tf.argsort(lengths(mine), direction="DESCENDING", stable=True))
            mine = tf.pad(mine, [[0, C - tf.shape(mine)[0]], [0, 0]])
            return shown, tf.ensure_shape(mine, [C, examples.max_length]), index

        return tf.data.Dataset.from_tensor_slices(when[first:last]).map(group)

    def one_pass(turn):
        everything = read(examples.train, examples).enumerate().filter(lambda i, _: within(i))
        return everything.flat_map(lambda i, one: groups_of(one, i, tf.cast(turn, tf.int32)))

    def longest(tokens):
        return tf.reduce_max(lengths(tokens))

    def trim(shown, tokens, index):
        return shown, tokens[..., : longest(tokens)], index

    stream = tf.data.Dataset.range(passes).flat_map(one_pass)
    stream = stream.shuffle(shuffle_buffer, seed=order_seed, reshuffle_each_iteration=False)
    if bucket:
        stream = stream.group_by_window(
            key_func=lambda shown, tokens, index: tf.cast(longest(tokens) // bucket, tf.int64),
            reduce_func=lambda key, window: window.batch(pictures),
            window_size=pictures,
        )
    else:
        stream = stream.batch(pictures)
    return stream.map(trim, num_parallel_calls=2, deterministic=True).prefetch(2)


def hash_seed(seed: int, salt: int) -> int:
    """A 31-bit seed that no nearby (seed, salt) shares."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{salt}".encode()).digest()[:4], "big") >> 1
