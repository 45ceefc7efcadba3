"""Features in eight bits: half the size of float16, with a scale of its own for every channel of a picture.

    >>> content = pack(features)                 # float16 (h, w, D) to bytes
    >>> unpack(content, (h, w, D))               # float16 again
    >>> rounded(features)                        # the same to the bit, in a graph: what serving is to see

A channel's least and greatest value in the picture stand for 0 and 255, and what lies between is rounded to the nearest
step (affine quantisation, Jacob et al., arXiv 1712.05877, with the range of every channel, Krishnamoorthi, arXiv
1806.08342). Nothing is fitted, so a picture's features hang on no other picture. What was rounded is rounded to itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

_SHARE = np.float32(1 / 255)  # multiplied by: a graph's optimiser makes that of a division by a constant


def pack(features: np.ndarray) -> bytes:
    """Of float16 (h, w, D), finite: each channel's least and greatest value, float16 (2, D), then uint8 (h, w, D)."""
    x = features.astype(np.float32)
    low, high = x.min((0, 1)), x.max((0, 1))
    step = (high - low) * _SHARE
    steps = np.rint((x - low) / np.where(step > 0, step, np.float32(1)))
    return np.stack([low, high]).astype("<f2").tobytes() + np.nan_to_num(steps).astype(np.uint8).tobytes()


def size(shape: Sequence[int]) -> int:
    """Bytes of what `pack` makes of (h, w, D)."""
    return 4 * shape[-1] + math.prod(shape)


def unpack(content: bytes | memoryview, shape: Sequence[int]) -> np.ndarray:
    """Float16 (h, w, D)."""
    h, w, D = shape
    low, high = np.frombuffer(content, "<f2", 2 * D).reshape(2, D).astype(np.float32)
    steps = np.frombuffer(content, np.uint8, offset=4 * D).reshape(h, w, D)
    return (low + steps * ((high - low) * _SHARE)).astype(np.float16)


def rounded(features: tf.Tensor) -> tf.Tensor:
    """Graph op: what `unpack` gives of what `pack` made of each picture; float16 (B, h, w, D) to the same."""
    import tensorflow as tf

    x = tf.cast(features, tf.float32)
    low, high = tf.reduce_min(x, [1, 2], keepdims=True), tf.reduce_max(x, [1, 2], keepdims=True)
    step = (high - low) * _SHARE
    steps = tf.round((x - low) / tf.where(step > 0, step, 1.0))
    return tf.cast(low + steps * step, tf.float16)
