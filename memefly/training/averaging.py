"""Averages of weights over training: a moving one, and one over the last epochs.

    >>> average = MovingAverage(variables, decay=0.999)
    >>> average.update()                         # after every step
    >>> with average.applied(): evaluate()

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992. The decay starts small, as
min(decay, (1 + n) / (10 + n)) after n steps, so that the average soon forgets where the weights came from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf


class MovingAverage(tf.Module):
    """With a decay of 0, the weights themselves: `update` and `applied` then do nothing."""

    def __init__(self, variables: Sequence[tf.Variable], decay: float):
        super().__init__(name="moving_average")
        self._of, self._decay = list(variables), decay
        self.steps = tf.Variable(0.0, trainable=False, name="steps")
        self.averages = [tf.Variable(v, trainable=False, name="average") for v in self._of] if decay else []

    def update(self) -> None:
        """Graph op; across replicas, not in one of them."""
        if not self._decay:
            return
        decay = tf.minimum(self._decay, (1.0 + self.steps) / (10.0 + self.steps))
        for average, variable in zip(self.averages, self._of):
            average.assign(decay * average + (1 - decay) * variable)
        self.steps.assign_add(1.0)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The variables hold their averages inside the context, and what they held before after it."""
        if not self._decay:
            yield
            return
        before = [v.numpy() for v in self._of]
        assign(self._of, [a.numpy() for a in self.averages])
        try:
            yield
        finally:
            assign(self._of, before)


def assign(variables: Sequence[tf.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values):
        variable.assign(value)


def mean(snapshots: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Weight by weight, the mean of several sets of weights."""
    return [np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype) for values in zip(*snapshots)]
