"""Who is let in, so that nobody who is waits for long: under more load than the model bears, some are turned away at
once, and the others hardly notice.

    >>> admission = Admission(most=64, patience=2.0)
    >>> with admission.place(2) as place:             # raises `BusyError` where they would wait for too long
    ...     check(pictures)
    ...     place.asked = 2                           # they are with the model now, or wait for it
    ...     answer(pictures)
    ...     place.answered = 2

A newcomer waits for those before him, each as long as pictures take lately, one after the other (Little's law): that is
measured, and so is what one takes that comes alone. Neither has to be set for a machine, and both follow a model that
batches better under load. Who takes long to be read, such as a decompression bomb, is no time of the model's, and none
is turned away for him. Not thread-safe: for one event loop.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from memefly.errors import BusyError

SHORT = 0.05  # seconds that nobody minds to wait
_NEW = 0.1  # the weight of what was measured last


@dataclass(eq=False)
class Place:
    pictures: int
    came: float
    asked: int = 0  # pictures of it that came as far as the model
    answered: int = 0  # that took what a picture takes; what is refused for its bytes takes nothing


class Admission:
    """`most` pictures at a time. Beyond that, of those that would wait for their turn more than `patience` times what a
    picture takes alone, none; without `patience` any."""

    def __init__(self, most: int, patience: float | None = None):
        self._most, self._patience = most, patience
        self._places: set[Place] = set()
        self._each: float | None = None  # seconds between one and the next while there are any
        self._alone: float | None = None  # seconds of one that met nobody else
        self._last = 0.0
        self._came = 0  # so many were let in, ever

    @property
    def inside(self) -> int:
        """Pictures that wait or are worked on."""
        return sum(place.pictures for place in self._places)

    @property
    def wait(self) -> float:
        """Seconds for which a newcomer would wait for the model. Who just came, and is still read, will soon ask it."""
        just = time.monotonic() - max(SHORT, self._alone or 0.0)
        return (self._each or 0.0) * sum(one.pictures if one.came > just else one.asked for one in self._places)

    def check(self, count: int = 1) -> None:
        """Raises `BusyError` where so many pictures are not let in now. Who comes when nobody is there always is,
        but for more than `most`."""
        if self.inside + count > self._most:
            raise BusyError(f"{self.inside} pictures are waiting already; try again in a moment")
        if self._patience and self._alone and self.wait > max(SHORT, self._patience * self._alone):
            raise BusyError(
                f"{self.inside} pictures are waiting already, for {self.wait:.1f} s or so; try again in a moment"
            )

    @contextlib.contextmanager
    def place(self, count: int) -> Iterator[Place]:
        self.check(count)
        alone, place = not self._places, Place(count, time.monotonic())
        self._places.add(place)
        self._came += 1
        number = self._came
        try:
            yield place
        finally:
            self._places.remove(place)
            if place.answered:
                now = time.monotonic()
                self._each = _mean(self._each, (now - max(place.came, self._last)) / place.answered)
                if alone and number == self._came:
                    self._alone = _mean(self._alone, (now - place.came) / place.answered)
                self._last = now


def _mean(old: float | None, new: float) -> float:
    return new if old is None else old + _NEW * (new - old)
