"""An n-gram model as tables that a graph can read: interpolated Kneser-Ney smoothing over token ids.

    >>> tables = count(captions, vocabulary_size=4000, order=5)       # captions: ids from <s> to </s>
    >>> tables.words, tables.shares                                   # what may follow which history, and how likely

Kneser and Ney, 1995, as in Chen and Goodman, 1999, sec. 4.1.6, with one discount an order, n1 / (n1 + 2 n2). From the
bottom up, over histories h of k tokens and h' without the first of them,

    p(w | h) = share(h, w) + rest(h) p(w | h'),          share(h, w) = max(c(h, w) - D, 0) / c(h)

and `rest` is what the shares of a history leave. Where an n-gram of four tokens or more was seen once it is not kept,
and of a history only its commonest followers are: the rest has what they had, so all still adds up to one.

Histories are found by their hash: its remainder says in which bucket, of `SLOTS` places. Two of one hash, which is
rare, are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from memefly.text import PAD_ID, START_ID

SLOTS = 8
FOLLOWERS = (1024, 256, 128, 64)  # of a history of one token, two, three, and more, at most
_LEAST = (1, 1, 2)  # times that an n-gram of two tokens, three, four and more has to be seen
SALT, STEP = 0x3C6EF372, 0x5851F42D  # of the hash, in int32 that wraps around
_FILLED = 0.5  # of all slots


@dataclass(frozen=True)
class Ngrams:
    """Shapes: V tokens, B buckets, S slots, E followers of all histories."""

    order: int
    first: np.ndarray  # float32 (V,), without any history
    keys: np.ndarray  # int32 (B * S,), hashes of histories; an empty slot has none of its bucket
    starts: np.ndarray  # int32 (B * S,), where a history's followers begin, the likeliest first
    ends: np.ndarray  # int32 (B * S,)
    rests: np.ndarray  # float32 (B * S,)
    words: np.ndarray  # int32 (E,)
    shares: np.ndarray  # float32 (E,)


def hashes(history: np.ndarray) -> np.ndarray:
    """Tokens int32 (…, order - 1), the last one last, to the hashes of the last one, two, … int32 (…, order - 1)."""
    history = np.asarray(history).astype(np.uint32)
    found, value = [], np.full(history.shape[:-1], SALT, np.uint32)
    with np.errstate(over="ignore"):
        for back in range(history.shape[-1]):
            value = (value ^ (history[..., -1 - back] + np.uint32(1))) * np.uint32(STEP) + np.uint32(back + 1)
            found.append(value)
    return np.stack(found, axis=-1).view(np.int32) if found else np.zeros((*history.shape[:-1], 0), np.int32)


def count(captions: Iterable[Sequence[int] | np.ndarray], vocabulary_size: int, order: int) -> Ngrams:
    """`captions`: ids from <s> to the </s>; one that was cut has none. In memory are four bytes a token, and as much
    again for each n-gram that occurs. Raises ValueError for an order below 2, or without captions."""
    if order < 2:
        raise ValueError(f"expected an order of 2 at least, got {order}")
    grams, counts = _of_full_length(captions, order)
    if not len(grams):
        raise ValueError("an n-gram model needs captions")
    levels = []
    for _ in range(order):
        levels.append((grams, counts))
        grams, counts = _distinct(grams[:, 1:], np.ones(len(grams), np.int64))
    return _tables(levels[::-1], vocabulary_size)


def _of_full_length(captions: Iterable[Sequence[int] | np.ndarray], order: int) -> tuple[np.ndarray, np.ndarray]:
    """n-grams int32 (G, order) and how often each occurs, the start filled up with <s>."""
    flat: list[np.ndarray] = []
    for ids in captions:
        flat.append(np.array([START_ID] * (order - 2) + list(ids), np.int32))
    if not flat:
        return np.zeros((0, order), np.int32), np.zeros(0, np.int64)
    tokens = np.concatenate(flat)
    ends = np.cumsum([len(ids) for ids in flat])
    places = np.arange(len(tokens) - order + 1)
    # An n-gram lies within one caption: as many captions end before its first token as before its last.
    within = np.searchsorted(ends, places, "right") == np.searchsorted(ends, places + order - 1, "right")
    grams = np.lib.stride_tricks.sliding_window_view(tokens, order)[within]
    return _distinct(grams, np.ones(len(grams), np.int64))


def _distinct(grams: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each of the n-grams (G, n) once, sorted by its history, with the sum of its counts."""
    if not grams.shape[1]:
        return grams[:1], counts[:1]
    order = np.lexsort(grams.T[::-1])
    grams, counts = grams[order], counts[order]
    new = np.ones(len(grams), bool)
    new[1:] = (grams[1:] != grams[:-1]).any(axis=1)
    places = np.flatnonzero(new)
    return grams[places], np.add.reduceat(counts, places)


def _tables(levels: list[tuple[np.ndarray, np.ndarray]], size: int) -> Ngrams:
    grams, counts = levels[0]
    sayable = np.ones(size, np.float64)
    sayable[[PAD_ID, START_ID]] = 0
    discount, total = _discount(counts), counts.sum()
    first = np.zeros(size)
    first[grams[:, 0]] = np.maximum(counts - discount, 0) / total
    first += (1 - first.sum()) * sayable / sayable.sum()
    keys, rests, lengths, words, shares = [], [], [], [], []
    for n, (grams, counts) in enumerate(levels[1:], start=1):
        new = np.ones(len(grams), bool)
        new[1:] = (grams[1:, :-1] != grams[:-1, :-1]).any(axis=1)
        owner = np.cumsum(new) - 1  # of each n-gram, its history
        totals = np.bincount(owner, counts)
        share = np.maximum(counts - _discount(counts), 0) / totals[owner]
        order = np.lexsort((grams[:, -1], -share, owner))
        place = np.arange(len(order)) - np.flatnonzero(new)[owner]  # owners are sorted, so their places stay
        most, least = FOLLOWERS[min(n, len(FOLLOWERS)) - 1], _LEAST[min(n, len(_LEAST)) - 1]
        kept = order[(place < most) & (counts[order] >= least)]
        owners, own = np.unique(owner[kept], return_counts=True)
        keys.append(hashes(grams[np.flatnonzero(new)[owners], :-1])[:, -1])
        rests.append(1 - np.bincount(owner[kept], share[kept], len(totals))[owners])
        lengths.append(own)
        words.append(grams[kept, -1])
        shares.append(share[kept])
    parts = (np.concatenate(part) for part in (keys, rests, lengths))
    found, starts, ends, left = _slots(*parts)
    followers = np.concatenate(words).astype(np.int32), np.concatenate(shares).astype(np.float32)
    return Ngrams(len(levels), first.astype(np.float32), found, starts, ends, left, *followers)


def _discount(counts: np.ndarray) -> float:
    once, twice = (int((counts == times).sum()) for times in (1, 2))
    return once / (once + 2 * twice) if once and twice else 0.5


def _slots(
    keys: np.ndarray, rests: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Histories to their places: keys, starts, ends and rests, each (B * S,). In a bucket that is full those with the
    fewest followers are left out, and are as if they had not been seen."""
    buckets = _prime(max(1, int(len(keys) / (SLOTS * _FILLED))))
    ends = np.cumsum(lengths)
    bucket = keys.astype(np.int64) % buckets
    order = np.lexsort((np.arange(len(keys)), -lengths, bucket))
    sorted_buckets = bucket[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_buckets, sorted_buckets)
    order, slot = order[place < SLOTS], (sorted_buckets * SLOTS + place)[place < SLOTS]
    # An empty slot's key belongs to the next bucket, so that nothing that looks here finds it.
    empty = (np.repeat(np.arange(buckets), SLOTS) + 1) % buckets if buckets > 1 else np.full(SLOTS, -1)
    size = buckets * SLOTS
    found = empty.astype(np.int32), np.zeros(size, np.int32), np.zeros(size, np.int32), np.ones(size, np.float32)
    for table, values in zip(found, (keys, ends - lengths, ends, rests)):
        table[slot] = values[order]
    return found


def _prime(least: int) -> int:
    """The least prime that is not smaller: keys are spread by the remainder of all their bits."""
    while any(least % d == 0 for d in range(2, int(least**0.5) + 1)):
        least += 1
    return max(2, least)
