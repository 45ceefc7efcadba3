"""Per-channel standardisation of features, with statistics from the training split that travel with the model.

    >>> Standardizer(mean, std)(features)        # float16 (B, h, w, D) to float32 (B, h, w, D)

The scale of an encoder's channels differs by orders of magnitude, and for random weights so does that of encoders;
standardised, a captioner sees them all.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

CLIP = 10.0  # standard deviations; a channel that hardly ever fires would otherwise drown the others when it does


class Standardizer(tf.Module):
    """`mean` and `std` are float32 (D,); channels that never vary are passed through centred."""

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        super().__init__(name="standardizer")
        if mean.shape != std.shape or mean.ndim != 1:
            raise ValueError(f"expected mean and std of shape (D,), got {mean.shape} and {std.shape}")
        self.mean = tf.Variable(mean, dtype=tf.float32, trainable=False, name="mean")
        self.std = tf.Variable(np.where(std > 0, std, 1.0), dtype=tf.float32, trainable=False, name="std")

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value((tf.cast(features, tf.float32) - self.mean) / self.std, -CLIP, CLIP)
