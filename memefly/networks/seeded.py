"""Weights and noise that follow from seeds alone, so that the same configuration makes the same network.

>>> make = Initializer(seed=0)
>>> kernel = make.glorot("kernel", [256, 512])
>>> Dropout(0.5, noise=(1, 2))(x)
"""

from __future__ import annotations

import math

import tensorflow as tf


class Initializer:
    """Seeded initial weights: the k-th weight of a network depends on the seed and k alone."""

    def __init__(self, seed: int):
        self._seed, self._count = seed, 0

    def _next(self):
        self._count += 1
        return [self._seed, self._count]

    def zeros(self, name: str, shape) -> tf.Variable:
        self._count += 1
        return tf.Variable(tf.zeros(shape), name=name)

    def ones(self, name: str, shape) -> tf.Variable:
        self._count += 1
        return tf.Variable(tf.ones(shape), name=name)

    def normal(self, name: str, shape, stddev: float) -> tf.Variable:
        return tf.Variable(tf.random.stateless_normal(shape, self._next(), stddev=stddev), name=name)

    def glorot(self, name: str, shape) -> tf.Variable:
        """Uniform (Glorot and Bengio, AISTATS 2010)."""
        limit = math.sqrt(6 / (shape[0] + shape[1]))
        return tf.Variable(tf.random.stateless_uniform(shape, self._next(), -limit, limit), name=name)

    def orthogonal(self, name: str, units: int, blocks: int) -> tf.Variable:
        """`blocks` orthogonal squares side by side (Saxe et al., arXiv 1312.6120)."""
        squares = [tf.linalg.qr(tf.random.stateless_normal([units, units], self._next()))[0] for _ in range(blocks)]
        return tf.Variable(tf.concat(squares, axis=1), name=name)


class Dropout:
    """Dropout whose masks follow from a pair of integers and the order of calls, not from any hidden state."""

    def __init__(self, rate: float, noise):
        self._rate, self._noise, self._calls = rate, noise, 0

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.experimental.stateless_dropout(x, self._rate, self.fork()) if self._rate else x

    def fork(self):
        """A pair of its own for a further generator."""
        if not self._rate:
            return None
        self._calls += 1
        return tf.random.experimental.stateless_fold_in(tf.cast(tf.stack(self._noise), tf.int32), self._calls)
