"""A picture as one vector: the mean of its features over positions, projected.

>>> Pooled(make, feature_shape=(8, 8, 2048), width=256)(features)   # float32 (P, 8, 8, 2048) to (P, 256)
"""

from __future__ import annotations

import tensorflow as tf

from memefly.networks.seeded import Initializer


class Pooled(tf.Module):
    def __init__(self, make: Initializer, feature_shape: tuple[int, int, int], width: int):
        super().__init__(name="pooled")
        self.positions = feature_shape[0] * feature_shape[1]
        self.kernel = make.glorot("pooled/kernel", [feature_shape[2], width])
        self.bias = make.zeros("pooled/bias", [width])

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(features, axis=[1, 2]) @ self.kernel + self.bias


def uniform_alphas(of: tf.Tensor, positions: int) -> tf.Tensor:
    """What a mean over positions weighs each by, 1 / L, and 0 where there is no token: bool (…) to float32 (…, L)."""
    return tf.repeat(tf.cast(of, tf.float32)[..., tf.newaxis] / positions, positions, axis=-1)
