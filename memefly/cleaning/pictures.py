"""Pictures that look alike though their files differ: scaled, compressed again, in another format.

    >>> sides = {"a": Seen(hash, frozenset({"train"})), "b": Seen(hash, frozenset({"eval"}))}
    >>> honest(sides, distance=10, home=…)
    {"a": Verdict(like="b", split="")}

By their difference hash (imagehash's dhash: whether each of 16 x 16 places is brighter than the one before it).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HASH_SIZE = 16
BITS = HASH_SIZE * HASH_SIZE
_PLAIN = 12  # bits: a hash with no more of them set, or unset, is of a plain surface, which many pictures are
_SIDES = {"test": 3, "eval": 2, "val": 1, "train": 0}  # what is judged on stays


@dataclass(frozen=True)
class Seen:
    """A picture's hash, as many bits as `BITS`, and the splits that its records name."""

    hash: int
    splits: frozenset[str]


@dataclass(frozen=True)
class Verdict:
    """`like` is the picture that stands elsewhere; `split` where this one goes, or nothing: it is to be left out."""

    like: str
    split: str


def honest(pictures: Mapping[str, Seen], distance: int, home: Callable[[str], str]) -> dict[str, Verdict]:
    """What is to be done so that no two pictures that look alike, those with at most `distance` different bits, are on
    two sides; pictures of which nothing is to be done are not named. `home` is the split that a picture's id gives it.

    Where no record of those alike names a split, all go where the first of them goes. Where some do, one is left out
    if another is on a side that is judged on before its own. A picture that is itself on several sides, as a meme's
    template is, stays: there captions are parted.
    """
    verdicts: dict[str, Verdict] = {}
    for alike in clusters({name: seen.hash for name, seen in pictures.items()}, distance):
        named = any(pictures[name].splits for name in alike)
        sides = {name: pictures[name].splits or frozenset({home(name)}) for name in alike}
        if not named:
            first = home(alike[0])
            moved = (name for name in alike[1:] if home(name) != first)
            verdicts |= {name: Verdict(alike[0], first) for name in moved}
            continue
        for name in alike:
            if len(sides[name]) > 1:
                continue
            own = max(map(_SIDES.__getitem__, sides[name]))
            before = [other for other in alike if max(map(_SIDES.__getitem__, sides[other])) > own]
            if before:
                verdicts[name] = Verdict(before[0], "")
    return verdicts


def clusters(hashes: Mapping[str, int], distance: int) -> list[list[str]]:
    """Names of pictures that look alike, in lists of two or more, sorted: whoever is like one of a list is in it.

    Two hashes that differ in `distance` bits at most are the same in one of `distance` + 1 bands (Manku, Jain and Das
    Sarma, WWW 2007), so only those are compared.
    """
    names = sorted(name for name, hash_ in hashes.items() if _PLAIN < hash_.bit_count() < BITS - _PLAIN)
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    bands = distance + 1
    edges = [BITS * band // bands for band in range(bands + 1)]
    for low, high in itertools.pairwise(edges):
        mask = (1 << (high - low)) - 1
        buckets: dict[int, list[str]] = defaultdict(list)
        for name in names:
            buckets[hashes[name] >> low & mask].append(name)
        for bucket in buckets.values():
            _join(bucket, hashes, distance, parent, root)
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[root(name)].append(name)
    return [alike for alike in found.values() if len(alike) > 1]


def _join(
    bucket: list[str], hashes: Mapping[str, int], distance: int, parent: dict[str, str], root: Callable[[str], str]
) -> None:
    for place, name in enumerate(bucket):
        for other in bucket[:place]:
            if root(name) != root(other) and (hashes[name] ^ hashes[other]).bit_count() <= distance:
                low, high = sorted((root(name), root(other)))
                parent[high] = low
