"""Memes that were made, kept for whoever asks for the same again.

    >>> cache = MemeCache(megabytes=64)
    >>> key = key_of(picture, ["one does not simply"], BOXES, format="jpeg", size=600)
    >>> meme = cache.get(key) or cache.put(key, render(picture, …))

A key is a digest of all that a meme is made of, so what is kept under one never changes: it will do as an ETag
(RFC 9110, 8.8.3). What was not asked for the longest goes first.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence

from memefly.memes.render import RENDERER, Meme
from memefly.memes.template import Box


def key_of(picture: bytes, texts: Sequence[str], boxes: Sequence[Box], **options: str | int | bool | None) -> str:
    """64 hexadecimal digits; `options` are those of `render`."""
    made_of = {
        "renderer": RENDERER,
        "picture": hashlib.sha256(picture).hexdigest(),
        "texts": list(texts),
        "boxes": [box.model_dump() for box in boxes],
        "options": {name: value for name, value in options.items() if value is not None},
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


class MemeCache:
    """Thread-safe; holds no more than so many megabytes of memes."""

    def __init__(self, megabytes: int = 64):
        self._most = megabytes << 20
        self._memes: OrderedDict[str, Meme] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._memes)

    @property
    def bytes(self) -> int:
        return self._bytes

    def get(self, key: str) -> Meme | None:
        with self._lock:
            meme = self._memes.get(key)
            if meme is not None:
                self._memes.move_to_end(key)
            return meme

    def put(self, key: str, meme: Meme) -> Meme:
        """Keeps it, unless it is larger than a quarter of the whole; gives it back."""
        if len(meme.data) > self._most // 4:
            return meme
        with self._lock:
            if key not in self._memes:
                self._memes[key] = meme
                self._bytes += len(meme.data)
            self._memes.move_to_end(key)
            while self._bytes > self._most:
                _, gone = self._memes.popitem(last=False)
                self._bytes -= len(gone.data)
        return meme
