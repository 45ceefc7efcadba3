"""Requests that wait for the model together go through it together.

    >>> batcher = Batcher(model.predict, largest=8, callers=2)
    >>> batcher.submit(image_bytes)              # a Future of that picture's row of the outputs

`callers` threads call the model. While they do, requests gather; who is free takes its share of all that wait,
`largest` at most: what waits is for the others that are free too. Nobody waits for a batch to fill: a lone request goes
through at once, and the busier the server, the larger the batches.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import numpy as np

from memefly.errors import BusyError

T = TypeVar("T")
_STOP = object()


class Batcher(Generic[T]):
    """`predict` maps B pictures, with what else is asked of them, to arrays whose first axis is B; with several
    `callers`, it is called by so many threads at once. Thread-safe."""

    def __init__(
        self,
        predict: Callable[[Sequence[T]], dict[str, np.ndarray]],
        largest: int = 8,
        waiting: int = 64,
        callers: int = 1,
    ):
        self._predict, self._largest = predict, largest
        self._queue: queue.Queue = queue.Queue(waiting)
        self._closing, self._taking = threading.Lock(), threading.Lock()
        self._closed, self._free = False, 0
        self._threads = [
            threading.Thread(target=self._run, name=f"memefly-batcher-{i}", daemon=True) for i in range(callers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, data: T) -> Future[dict[str, Any]]:
        """The picture's row of every output. Raises `BusyError` at once where too many wait already, or after
        `close`."""
        future: Future = Future()
        with self._closing:
            if self._closed:
                raise BusyError("the server is shutting down")
            try:
                self._queue.put_nowait((data, future))
            except queue.Full:
                raise BusyError(f"{self._queue.maxsize} pictures are waiting already; try again in a moment") from None
        return future

    def close(self) -> None:
        """Answers what waits, and ends."""
        with self._closing:
            self._closed = True
        self._queue.put(_STOP)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while batch := self._take():
            # Whoever gave up on an answer meanwhile is left out.
            batch = [(data, future) for data, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)

    def _take(self) -> list[tuple[T, Future]]:
        """What a caller that is free takes; nothing at the end."""
        with self._taking:
            self._free += 1
        first = self._queue.get()
        with self._taking:
            share = -(-(1 + self._queue.qsize()) // self._free)
            self._free -= 1
        batch = []
        while first is not _STOP:
            batch.append(first)
            if len(batch) >= min(share, self._largest):
                return batch
            try:
                first = self._queue.get_nowait()
            except queue.Empty:
                return batch
        self._queue.put(_STOP)  # for the other callers, and for this one's next look
        return batch

    def _answer(self, batch: list[tuple[T, Future]]) -> None:
        try:
            out = self._predict([data for data, _ in batch])
            rows = [{name: values[i] for name, values in out.items()} for i in range(len(batch))]
        except Exception as error:  # theirs to hear of, and not the end of the server
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # it may be the fault of one: the others are asked again without it
                for item in batch:
                    self._answer([item])
            return
        for (_, future), row in zip(batch, rows):
            future.set_result(row)
