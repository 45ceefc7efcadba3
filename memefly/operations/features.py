"""What a root's store of features holds, and whether each entry is as it was written.

>>> for store in read("root", check=True): print(store.encoder, store.entries, store.damaged)
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from memefly import layout
from memefly.encoders.feature_store import FeatureStore
from memefly.errors import UsageError

_READERS = 4  # threads; they wait for files, and checksums leave Python to others
_AT_ONCE = 1024


@dataclass(frozen=True)
class Stored:
    """Of one encoder: `damaged` are keys of entries that fail their checksum (where that was looked at), `cut_off` what
    writers that were killed left behind."""

    encoder: str  # the beginning of its digest, 16 hex
    packs: int
    entries: int
    bytes: int
    damaged: tuple[str, ...]
    cut_off: int

    def as_dict(self) -> dict:
        return asdict(self)


def read(root: str | Path, check: bool = False, delete: bool = False, compact: bool = False) -> list[Stored]:
    """Of every encoder that pictures went through. With `check` each entry is read, and its checksum verified; with
    `delete`, too, what fails it is removed, so that ImageFeatures encodes it again. With `compact`, before that, small
    packs and single files become large packs. Raises `UsageError` where there is no store."""
    folder = layout.of(root).features
    if not folder.is_dir():
        raise UsageError(f"{root}: has no features yet; expected a root where the pipeline ran as far as ImageFeatures")
    stores = [FeatureStore(folder, path.name) for path in sorted(folder.iterdir()) if path.is_dir()]
    if compact:
        for store in stores:
            store.compact()
    return [_of(store, check, delete) for store in stores]


def _of(store: FeatureStore, check: bool, delete: bool) -> Stored:
    entries = 0
    damaged: list[str] = []
    with ThreadPoolExecutor(_READERS) as readers, tqdm(
        desc=store.folder.name, unit=" entries", disable=None if check else True
    ) as bar:  # fmt: skip
        for keys in _batches(store.keys()):
            entries += len(keys)
            if check:
                whole = readers.map(lambda key: store.get(key) is not None, keys)
                damaged += [key for key, fine in zip(keys, whole) if not fine]
            bar.update(len(keys))
    if damaged and delete:
        store.discard(damaged)
    cut_off = sum(1 for _ in store.folder.glob("*/.partial-*"))
    packs = len(store.packs.all())
    return Stored(store.folder.name, packs, entries, store.size(), tuple(damaged), cut_off)


def _batches(keys: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for key in keys:
        batch.append(key)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
