"""Content-addressed store of features: (encoder digest, picture digest) to an array, wherever it lies.

    >>> store = FeatureStore(root, encoder.digest)
    >>> store.put(image_id, features)            # float16 (h, w, D)
    >>> store.get(image_id)                      # None where it is not there, or damaged

A picture goes through an encoder once, ever: runs, pipelines and machines that share the folder share the work. An
entry is there whole or not at all (a file is written beside its place and renamed, an object appears when all of it has
arrived); its checksum is verified at every read, and what does not match counts as absent and is computed again.
Entries are float16, or in eight bits (`memefly.encoders.eight_bits`); either is read by whoever reads.
`compact` moves entries from their files into packs (`memefly.encoders.packs`), where they are found as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal

import numpy as np

from memefly import storage
from memefly.encoders import eight_bits
from memefly.encoders.packs import FLIPPED, SIZE, Packs
from memefly.storage import Place

__all__ = ["FLIPPED", "FeatureStore"]
_MAGIC = {"float16": b"MFF1", "uint8": b"MFF2"}
_HEADER = struct.Struct("<4s3I16s")  # magic, (h, w, D), BLAKE2b-128 of the shape and of what follows


class FeatureStore:
    """Entries live at ROOT/<encoder digest, 16 hex>/<2 hex>/<image_id>.f16, or in `packs` beside these folders; those
    that are put are float16 or, with `form` uint8, in eight bits, under the same names."""

    def __init__(self, root: str | Place, encoder_digest: str, form: Literal["float16", "uint8"] = "float16"):
        self._form = form
        self.folder = storage.at(root) / encoder_digest[:16]
        self.packs = Packs(self.folder / "packs")

    def path(self, image_id: str) -> Place:
        """Where an entry is that is in no pack."""
        return self.folder / image_id[:2] / f"{image_id}.f16"

    def put(self, image_id: str, features: np.ndarray) -> None:
        """Stores float16 (h, w, D); what is there already gives way to it, unless it is in a pack and whole."""
        if features.dtype != np.float16 or features.ndim != 3:
            raise ValueError(f"expected float16 (h, w, D), got {features.dtype} {features.shape}")
        if self._form == "uint8":
            payload = eight_bits.pack(features)
        else:
            payload = np.ascontiguousarray(features).astype("<f2", copy=False).tobytes()
        header = _HEADER.pack(_MAGIC[self._form], *features.shape, _checksum(features.shape, payload))
        path = self.path(image_id)
        if isinstance(path, storage.Remote):
            path.write_bytes(header + payload)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(header)
                file.write(payload)
            os.chmod(partial, 0o644)  # mkstemp makes it private; a store is shared
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise

    def get(self, image_id: str) -> np.ndarray | None:
        """The entry, or None where there is none that passes its checksum."""
        everywhere = map(_read, chain(self.packs.every(image_id), self._alone(image_id)))
        return next((found for found in everywhere if found is not None), None)

    def _alone(self, image_id: str) -> Iterator[bytes]:
        with contextlib.suppress(FileNotFoundError):
            yield self.path(image_id).read_bytes()

    def has(self, image_id: str) -> bool:
        """Whether there is an entry; `get` says whether it is whole."""
        return image_id in self.packs or self.path(image_id).is_file()

    def keys(self) -> Iterator[str]:
        """Of all entries, whole or not, each once, in order."""
        before = None
        for key in sorted(chain(self.packs.names(), self.alone())):
            if key != before:
                yield key
            before = key

    def alone(self) -> Iterator[str]:
        """Keys of entries that have a file of their own."""
        if self.folder.is_dir():
            for folder in self.folder.iterdir():
                if len(folder.name) == 2 and folder.is_dir():
                    yield from (path.stem for path in folder.glob("[!.]*.f16"))

    def discard(self, image_ids: Iterable[str]) -> int:
        """Removes entries, as far as they are there; how many went. Packs that have some are written anew, so nobody
        else may be at work on the store."""
        image_ids = list(image_ids)
        alone = [path for path in map(self.path, image_ids) if path.is_file()]
        for path in alone:
            path.unlink(missing_ok=True)
        return len(alone) + self.packs.discard(image_ids)

    def compact(self, size: int = SIZE) -> int:
        """Makes large packs of small ones and of entries with a file of their own, without what fails its checksum; how
        many packs there are then. Others may read and put meanwhile, and none discard or compact."""
        alone = list(self.alone())
        left = self.packs.compact({key: self._reader(key) for key in alone}, _is_whole, size)
        if alone:
            self.packs.settle()
        for key in alone:
            self.path(key).unlink(missing_ok=True)
        return left

    def _reader(self, key: str) -> Callable[[], bytes]:
        return self.path(key).read_bytes

    def size(self) -> int:
        """Bytes of all that is there."""
        return sum(storage.sizes(self.folder).values()) if self.folder.is_dir() else 0


def _read(content: bytes) -> np.ndarray | None:
    if len(content) < _HEADER.size:
        return None
    magic, *shape, checksum = _HEADER.unpack_from(content)
    payload = memoryview(content)[_HEADER.size :]
    sizes = {_MAGIC["float16"]: 2 * math.prod(shape), _MAGIC["uint8"]: eight_bits.size(shape)}
    if len(payload) != sizes.get(magic) or _checksum(shape, payload) != checksum:
        return None
    if magic == _MAGIC["uint8"]:
        return eight_bits.unpack(payload, shape)
    return np.frombuffer(payload, "<f2").reshape(shape).astype(np.float16, copy=False)


def _is_whole(content: bytes) -> bool:
    return _read(content) is not None


def _checksum(shape, payload) -> bytes:
    digest = hashlib.blake2b(struct.pack("<3I", *shape), digest_size=16)
    digest.update(payload)
    return digest.digest()
