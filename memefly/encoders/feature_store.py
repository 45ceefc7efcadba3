"""Content-addressed store of features: (encoder digest, picture digest) to an array, wherever it lies.

    >>> store = FeatureStore(root, encoder.digest)
    >>> store.put(image_id, features)            # float16 (h, w, D)
    >>> store.get(image_id)                      # None where it is not there, or damaged

A picture goes through an encoder once, ever: runs, pipelines and machines that share the folder share the work. An
entry is there whole or not at all (a file is written beside its place and renamed, an object appears when all of it has
arrived); its checksum is verified at every read, and what does not match counts as absent and is computed again.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator

import numpy as np

from memefly import storage
from memefly.storage import Place

FLIPPED = "-flipped"  # behind the key of a picture that was mirrored
_MAGIC = b"MFF1"
_HEADER = struct.Struct("<4s3I16s")  # magic, (h, w, D), BLAKE2b-128 of the shape and the float16 values


class FeatureStore:
    """Entries live at ROOT/<encoder digest, 16 hex>/<2 hex>/<image_id>.f16."""

    def __init__(self, root: str | Place, encoder_digest: str):
        self.folder = storage.at(root) / encoder_digest[:16]

    def path(self, image_id: str) -> Place:
        return self.folder / image_id[:2] / f"{image_id}.f16"

    def put(self, image_id: str, features: np.ndarray) -> None:
        """Stores float16 (h, w, D); replaces what is there."""
        if features.dtype != np.float16 or features.ndim != 3:
            raise ValueError(f"expected float16 (h, w, D), got {features.dtype} {features.shape}")
        payload = np.ascontiguousarray(features).astype("<f2", copy=False).tobytes()
        header = _HEADER.pack(_MAGIC, *features.shape, _checksum(features.shape, payload))
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
        try:
            content = self.path(image_id).read_bytes()
        except FileNotFoundError:
            return None
        if len(content) < _HEADER.size:
            return None
        magic, *shape, checksum = _HEADER.unpack_from(content)
        payload = memoryview(content)[_HEADER.size :]
        if magic != _MAGIC or len(payload) != 2 * int(np.prod(shape)) or _checksum(shape, payload) != checksum:
            return None
        return np.frombuffer(payload, "<f2").reshape(shape).astype(np.float16, copy=False)

    def has(self, image_id: str) -> bool:
        """Whether there is an entry; `get` says whether it is whole."""
        return self.path(image_id).is_file()

    def keys(self) -> Iterator[str]:
        """Of all entries, whole or not."""
        if not self.folder.is_dir():
            return
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            yield from sorted(path.stem for path in folder.glob("[!.]*.f16"))

    def discard(self, image_id: str) -> None:
        """Removes an entry, if there is one."""
        self.path(image_id).unlink(missing_ok=True)


def _checksum(shape, payload) -> bytes:
    digest = hashlib.blake2b(struct.pack("<3I", *shape), digest_size=16)
    digest.update(payload)
    return digest.digest()
