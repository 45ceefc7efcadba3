"""An exported model in this process, which gives way to a newer version as soon as there is one.

    >>> backend = LocalModel("root/serving/captioner")          # the newest version in it, and every newer one later
    >>> backend.caption(picture.data, {}).model.version
    1700000000

A folder of versions is looked at every few seconds. A newer whole version is loaded and warmed up beside the one that
answers, takes over between two batches, and the other one goes when its last picture is answered: nobody waits, nobody
is turned away.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from memefly import storage
from memefly.decoding_config import PREFIX
from memefly.errors import ModelError, StorageError
from memefly.exported.captions import Looked
from memefly.exported.manifest import newest_version
from memefly.exported.warmup import LARGEST_BATCH
from memefly.serving.backends import Answer, Status, answered, model_of
from memefly.serving.batching import Batcher
from memefly.storage import Place

log = logging.getLogger("memefly.service")

WATCH = 2.0  # seconds between two looks at the folder of versions


# Pictures go through the model together whatever their own ones of these are; another knob may ask for much memory.
_LIGHT = frozenset(["seed", PREFIX])
_Asked = tuple[bytes, dict[str, Any]]  # a picture, and its knobs


class _Loaded:
    """A version, and who still asks it."""

    def __init__(self, folder: Place, largest_batch: int, callers: int | None):
        from memefly.exported import loading

        self.folder = folder
        self.loaded = loading.load(folder)
        self.loaded.warm_up()
        number = int(folder.name) if folder.name.isdecimal() else None  # a copy may be called otherwise
        self.about = model_of(self.loaded.manifest, self.loaded.manifest.get("version") or number)
        self.batcher: Batcher[_Asked] = Batcher(
            self._predict, largest_batch if self.loaded.batches else 1, callers=callers or self.loaded.at_once
        )
        self.alone = threading.Lock()  # a picture with heavy knobs: one at a time, so that memory is bounded
        self.asked = 0

    def _predict(self, asked: Sequence[_Asked]) -> dict[str, np.ndarray]:
        pictures = [data for data, _ in asked]
        names = set().union(*(knobs for _, knobs in asked))
        own = {**self.loaded.manifest["config"]["decoding"], PREFIX: ""}
        return self.loaded.answer(
            pictures, {name: [knobs.get(name, own.get(name)) for _, knobs in asked] for name in names}
        )


class LocalModel:
    """At most `largest_batch` pictures go through the model in a call, and `callers` calls at once: by default, as many
    as the model takes well."""

    def __init__(
        self,
        folder: str | Place,
        largest_batch: int = LARGEST_BATCH,
        watch: float = WATCH,
        callers: int | None = None,
    ):
        self._folder, self._largest_batch, self._callers = storage.at(folder), largest_batch, callers
        self._lock = threading.Condition()
        self._current = _Loaded(newest_version(folder), largest_batch, callers)
        self._passed_over: Place | None = None
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None
        if watch and self._current.folder != self._folder:
            self._watcher = threading.Thread(target=self._watch, args=(watch,), name="memefly-versions", daemon=True)
            self._watcher.start()

    def caption(self, data: bytes, knobs: dict[str, Any]) -> Answer:
        with self._using() as one:
            if set(knobs) <= _LIGHT:
                row = one.batcher.submit((data, knobs)).result()
            else:
                with one.alone:
                    row = {name: values[0] for name, values in one.loaded.answer([data], knobs).items()}
            return answered(row, one.loaded.read, one.about)

    def look(self, data: bytes, caption: str) -> Looked:
        with self._using() as one, one.alone:
            if not hasattr(one.loaded, "explain"):
                raise ModelError("a model for LiteRT does not say where it looked; serve the one that it is made of")
            return one.loaded.explain([data], [caption])[0]

    def status(self) -> Status:
        one = self._current
        if not one.batcher.alive:
            return Status(False, one.about, "the thread that calls the model has ended; start the server again")
        return Status(True, one.about, f"{one.folder}, in this process")

    def close(self) -> None:
        """Answers what waits, and ends."""
        self._ended.set()
        if self._watcher:
            self._watcher.join()
        self._current.batcher.close()

    @contextlib.contextmanager
    def _using(self) -> Iterator[_Loaded]:
        with self._lock:
            one = self._current
            one.asked += 1
        try:
            yield one
        finally:
            with self._lock:
                one.asked -= 1
                self._lock.notify_all()

    def _watch(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            try:
                newest = newest_version(self._folder)
            except (ModelError, StorageError, OSError) as error:
                log.warning("%s: %s; version %s goes on", self._folder, error, self._current.folder.name)
                continue
            if newest not in (self._current.folder, self._passed_over):
                self._take_up(newest)

    def _take_up(self, folder: Place) -> None:
        try:
            new = _Loaded(folder, self._largest_batch, self._callers)
        except Exception as error:  # whatever is wrong with it, there is one that answers
            log.error("version %s does not load, %s goes on: %s", folder.name, self._current.folder.name, error)
            self._passed_over = folder
            return
        with self._lock:
            old, self._current = self._current, new
            log.info("version %s answers now, in the place of %s", new.folder.name, old.folder.name)
            self._lock.wait_for(lambda: not old.asked)
        old.batcher.close()
