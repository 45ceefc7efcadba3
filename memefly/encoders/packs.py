"""Many small entries in files of some hundred megabytes: a file system has an end, and a store counts requests.

    >>> packs = Packs(folder)
    >>> with packs.writing() as pack:             # what it takes is there at the end of the block, or none of it
    ...     pack.add(key, entry)
    >>> packs.get(key)                            # bytes; None where no pack has it

A pack is two files, named by the keys in it and by the SHA-256 of its content: `.pack`, the entries one after the
other, and `.index`, which comes last and says where each begins. Both appear whole and never change, so any number
of processes and machines may write packs at once, of the same entries too. `compact` makes large ones of small ones,
each for a range of keys of its own, so that a look-up asks one of them.

Keys are pictures' digests, 64 hexadecimal digits, with or without `FLIPPED` behind them.

    <first key, 16 hex>-<last key, 16 hex>-<digest, 32 hex>.index:
        4 bytes MFI1, uint64 number n, BLAKE2b-128 of the rest; then n each of, by ascending key:
        uint64 first 8 bytes of the digest, big-endian; 24 bytes, the others; uint8, whether mirrored;
        uint64 offset in the pack; uint32 length; little-endian where nothing is said
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import itertools
import math
import os
import re
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from memefly import storage
from memefly.errors import FeaturesError
from memefly.storage import Place

FLIPPED = "-flipped"  # behind the key of a picture that was mirrored
SIZE = 256 << 20  # bytes that a pack is to have at least when it is compacted
_MAGIC = b"MFI1"
_HEADER = struct.Struct("<4sQ16s")
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{32})\.index")
_REMEMBERED = 4096  # indices, of 46 KiB where packs have 256 MiB
_FRESH = 1.0  # seconds for which a list of packs is not looked at again
Key = tuple[int, bytes]  # the first 8 bytes of a digest; the other 24, and one more: whether mirrored


def key_of(name: str) -> Key:
    """Raises `ValueError` where it is no picture's."""
    digest, flipped, rest = name[:64], name[64:] == FLIPPED, name[64:]
    if rest not in ("", FLIPPED):
        raise ValueError(f"expected 64 hexadecimal digits, with or without {FLIPPED}, got {name!r}")
    content = bytes.fromhex(digest)
    if len(content) != 32:
        raise ValueError(f"expected 64 hexadecimal digits, got {name!r}")
    return int.from_bytes(content[:8], "big"), content[8:] + bytes([flipped])


def name_of(key: Key) -> str:
    head, tail = key
    return head.to_bytes(8, "big").hex() + tail[:24].hex() + (FLIPPED if tail[24] else "")


class _Index:
    """Of a pack."""

    def __init__(self, content: bytes):
        magic, n, checksum = _HEADER.unpack_from(content) if len(content) >= _HEADER.size else (b"", 0, b"")
        rest = memoryview(content)[_HEADER.size :]
        if magic != _MAGIC or len(rest) != n * 45 or hashlib.blake2b(rest, digest_size=16).digest() != checksum:
            raise ValueError("it is no index, or damaged")
        self.heads = np.frombuffer(rest, "<u8", n)
        self.tails = np.frombuffer(rest, "V25", n, 8 * n)
        self.offsets = np.frombuffer(rest, "<u8", n, 33 * n)
        self.lengths = np.frombuffer(rest, "<u4", n, 41 * n)

    def find(self, key: Key) -> tuple[int, int] | None:
        head, tail = key
        i = int(np.searchsorted(self.heads, np.uint64(head)))
        while i < len(self.heads) and int(self.heads[i]) == head:
            if self.tails[i].tobytes() == tail:
                return int(self.offsets[i]), int(self.lengths[i])
            i += 1
        return None

    def __iter__(self) -> Iterator[tuple[Key, int, int]]:
        for head, tail, offset, length in zip(self.heads, self.tails, self.offsets, self.lengths):
            yield (int(head), tail.tobytes()), int(offset), int(length)

    def __len__(self) -> int:
        return len(self.heads)

    @staticmethod
    def pack(found: dict[Key, tuple[int, int]]) -> bytes:
        keys = sorted(found)
        rest = b"".join(
            (
                np.array([head for head, _ in keys], "<u8").tobytes(),
                b"".join(tail for _, tail in keys),
                np.array([found[key][0] for key in keys], "<u8").tobytes(),
                np.array([found[key][1] for key in keys], "<u4").tobytes(),
            )
        )
        return _HEADER.pack(_MAGIC, len(keys), hashlib.blake2b(rest, digest_size=16).digest()) + rest


@dataclass
class Pack:
    """One that is there."""

    path: Place  # of its index
    first: int  # heads of its keys
    last: int

    @property
    def entries_path(self) -> Place:
        return self.path.with_name(self.path.name.removesuffix(".index") + ".pack")

    @property
    def index(self) -> _Index:
        """Raises `FileNotFoundError` where it was compacted away meanwhile, `FeaturesError` where it is damaged."""
        return _index(self.path)

    def at(self, offset: int, length: int) -> bytes:
        return storage.part(self.entries_path, offset, length)

    @cached_property
    def size(self) -> int:
        return self.entries_path.stat().st_size

    def remove(self) -> None:
        """The index first: what has none is no pack."""
        self.path.unlink(missing_ok=True)
        self.entries_path.unlink(missing_ok=True)


@functools.lru_cache(maxsize=_REMEMBERED)  # none of that name is ever another
def _index(path: Place) -> _Index:
    try:
        return _Index(path.read_bytes())
    except ValueError as error:
        raise FeaturesError(
            f"{path}: {error}. Remove it and its .pack: what was in them is encoded anew, by the next run"
        ) from None


class Writing:
    """A pack on its way: what is added is in a file of this machine, until it is published or given up."""

    def __init__(self, folder: Place):
        self._folder, self._digest = folder, hashlib.sha256()
        if not isinstance(folder, storage.Remote):
            folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            prefix=".partial-", dir=None if isinstance(folder, storage.Remote) else folder
        )
        self._file, self._path = os.fdopen(descriptor, "wb"), Path(name)
        self.found: dict[Key, tuple[int, int]] = {}
        self.size = 0

    def add(self, name: str, entry: bytes) -> None:
        """Of two with one key, the first stays."""
        key = key_of(name)
        if key not in self.found:
            self._file.write(entry)
            self._digest.update(entry)
            self.found[key] = self.size, len(entry)
            self.size += len(entry)

    def publish(self) -> str:
        """Its name, by which it is there now; empty where nothing was added."""
        try:
            if not self.found:
                return ""
            self._file.flush()
            os.fsync(self._file.fileno())
            index = _Index.pack(self.found)
            digest = hashlib.sha256(self._digest.digest() + index).hexdigest()[:32]
            name = f"{min(self.found)[0]:016x}-{max(self.found)[0]:016x}-{digest}"
            entries = self._folder / f"{name}.pack"
            if isinstance(self._folder, storage.Remote):
                storage.copy(self._path, entries)
            else:
                self._path.chmod(0o644)  # a temporary file is private; a store is shared
                os.replace(self._path, entries)
            storage.replace(self._folder / f"{name}.index", index)
            return name
        finally:
            self.give_up()

    def give_up(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class _List(NamedTuple):
    """The packs that a folder had at a time."""

    number: int  # of the list: each is a new one
    read: float  # when
    by_name: dict[str, Pack]
    order: list[Pack]  # by their first keys
    reach: list[int]  # the last key of any pack so far, in that order


_NOTHING = _List(0, -math.inf, {}, [], [])


class Packs:
    """All packs in a folder, for any number of threads. Raises `FeaturesError` where an index is damaged."""

    def __init__(self, folder: Place):
        self.folder = folder
        self._list, self._lock = _NOTHING, threading.Lock()

    def __reduce__(self):
        return Packs, (self.folder,)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """Nothing is written where nothing was added, or where the block fails."""
        pack = Writing(self.folder)
        try:
            yield pack
        except BaseException:
            pack.give_up()
            raise
        pack.publish()
        self.changed()

    # --- what is there ----------------------------------------------------------------------------------------------

    def get(self, name: str) -> bytes | None:
        """An entry, unverified."""
        return next(self.every(name), None)

    def every(self, name: str) -> Iterator[bytes]:
        """The entries of that name: one, but where two have written it. What others have written since the last look is
        looked for, too, where that has none."""
        for pack, place in self._places(key_of(name)):
            try:
                entry = pack.at(*place)
            except FileNotFoundError:
                self.changed()
                continue
            yield entry

    def __contains__(self, name: str) -> bool:
        return next(self._places(key_of(name)), None) is not None

    def _places(self, key: Key) -> Iterator[tuple[Pack, tuple[int, int]]]:
        seen: set[str] = set()
        newer: _List | None = self._list
        while newer:
            known = newer
            for pack in _candidates(known, key[0]):
                if pack.path.name in seen:
                    continue
                seen.add(pack.path.name)
                try:
                    place = pack.index.find(key)
                except FileNotFoundError:  # compacted away, by who wrote it elsewhere before
                    self.changed()
                    continue
                if place:
                    yield pack, place
            newer = self._newer(known)

    def names(self) -> Iterator[str]:
        """Of all entries, each once, in order."""
        keys = {key for pack in self.all() for key, _, _ in pack.index}
        return map(name_of, sorted(keys))

    def all(self) -> list[Pack]:
        """In the order of their keys, as they are now."""
        with self._lock:
            self._list = self._read(self._list)
        return self._list.order

    def _newer(self, known: _List) -> _List | None:
        """A later list than `known`; None where that was read a moment ago."""
        with self._lock:
            if self._list.number == known.number and time.monotonic() - self._list.read >= _FRESH:
                self._list = self._read(known)
            return self._list if self._list.number != known.number else None

    def _read(self, before: _List) -> _List:
        by_name: dict[str, Pack] = {}
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if parts := _NAME.fullmatch(path.name):
                    there = before.by_name.get(path.name)
                    by_name[path.name] = there or Pack(path, int(parts[1], 16), int(parts[2], 16))
        order = sorted(by_name.values(), key=lambda pack: (pack.first, pack.path.name))
        reach = list(itertools.accumulate((pack.last for pack in order), max))
        return _List(before.number + 1, time.monotonic(), by_name, order, reach)

    def changed(self) -> None:
        """The next look reads the list anew."""
        with self._lock:
            self._list = self._list._replace(read=-math.inf)

    def settle(self) -> None:
        """Waits until whoever has a list from before now reads it again, for what is not in it."""
        time.sleep(2 * _FRESH)

    # --- what is done to them ---------------------------------------------------------------------------------------

    def discard(self, names: Iterable[str]) -> int:
        """Writes those packs anew that have some of these, without them; how many entries went."""
        gone = {key_of(name) for name in names}
        removed = 0
        for pack in self.all():
            inside = [key for key in gone if pack.first <= key[0] <= pack.last and pack.index.find(key)]
            if not inside:
                continue
            with self.writing() as fresh:
                for key, offset, length in pack.index:
                    if key not in gone:
                        fresh.add(name_of(key), pack.at(offset, length))
            pack.remove()
            removed += len(inside)
        self._list = _NOTHING._replace(number=self._list.number + 1)
        return removed

    def compact(
        self, loose: Mapping[str, Callable[[], bytes]], is_whole: Callable[[bytes], bool], size: int = SIZE
    ) -> int:
        """Makes packs of `size` bytes at least, but for one, of smaller ones, of those whose ranges overlap, and of
        `loose` entries, by name what reads each; what is not whole is left out. How many there are then. Nobody else
        may compact or discard meanwhile."""
        every = self.all()
        old = [pack for pack in every if pack.size < size or _overlaps(pack, every)]
        if not loose and len(old) < 2:
            return len(every)
        entries: dict[Key, list[Callable[[], bytes]]] = {key_of(name): [read] for name, read in loose.items()}
        for pack in old:
            for key, offset, length in pack.index:
                entries.setdefault(key, []).append(functools.partial(pack.at, offset, length))
        keys, made, at = sorted(entries), set(), 0
        while at < len(keys):
            fresh = Writing(self.folder)
            try:
                while at < len(keys) and (fresh.size < size or keys[at][0] == keys[at - 1][0]):  # one look-up, one pack
                    read = (read() for read in entries[keys[at]])
                    if (entry := next(filter(is_whole, read), None)) is not None:
                        fresh.add(name_of(keys[at]), entry)
                    at += 1
            except BaseException:
                fresh.give_up()
                raise
            made.add(f"{fresh.publish()}.index")
        for pack in old:
            if pack.path.name not in made:
                pack.remove()
        self._list = _NOTHING._replace(number=self._list.number + 1)
        return len(self.all())


def _candidates(known: _List, head: int) -> Iterator[Pack]:
    """Packs whose range has it: one, where they are compacted."""
    i = bisect.bisect_right(known.order, head, key=lambda pack: pack.first) - 1
    while i >= 0 and known.reach[i] >= head:
        if known.order[i].last >= head:
            yield known.order[i]
        i -= 1


def _overlaps(pack: Pack, every: list[Pack]) -> bool:
    return any(one is not pack and one.first <= pack.last and pack.first <= one.last for one in every)
