"""How likely an exported model takes captions that people wrote.

    >>> likelihood = Likelihood("root/serving/captioner")
    >>> likelihood.log_probs(model.features([picture.data])[0], [likelihood.written("a cat")])   # float64 (1,)

Shapes: C captions, T tokens, R real ones, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from memefly.exported.manifest import newest_version, read_manifest
from memefly.exported.parts import load_parts
from memefly.metrics.information import Written
from memefly.spelling import Spelling
from memefly.text import PAD_ID

_BATCH = 64  # captions at once


class Likelihood:
    """Of the newest version in a folder, or of the version that it is. Raises `ModelError`."""

    def __init__(self, folder: str | Path):
        folder = newest_version(folder)
        text = read_manifest(folder)["config"].get("text", {})
        self._spelling = Spelling(**{name: text[name] for name in Spelling.model_fields if name in text})
        self._parts = load_parts(folder)

        def score(features: tf.Tensor, tokens: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
            """Features float16 (1, h, w, D) and tokens int32 (1, C, T) to log-probabilities float32 (C,)."""
            features = self._parts.standardizer(features) * shown
            logits, _ = self._parts.network.teacher_forced(
                features, tokens, fed=None, training=False, noise=None
            )  # (R, V)
            targets = tokens[0, :, 1:]  # (C, T - 1)
            real = tf.not_equal(targets, PAD_ID)
            of_each = -tf.nn.sparse_softmax_cross_entropy_with_logits(tf.boolean_mask(targets, real), logits)
            return tf.reduce_sum(tf.scatter_nd(tf.where(real), of_each, tf.shape(real, tf.int64)), axis=1)

        shape = tuple(read_manifest(folder)["encoder"]["feature_shape"])
        self._score = tf.function(
            score,
            input_signature=[
                tf.TensorSpec([1, *shape], tf.float16),
                tf.TensorSpec([1, None, None], tf.int32),
                tf.TensorSpec([], tf.float32),
            ],
            autograph=False,
        )

    def written(self, caption: str) -> Written:
        """A caption in the model's own tokens."""
        return Written.of(caption, self._parts.vocabulary, self._spelling)

    def log_probs(self, features: np.ndarray | None, captions: Sequence[Written]) -> np.ndarray:
        """Natural logarithms float64 (C,) of captions' probabilities, given a picture's features float16 (h, w, D), or
        none: then those of no picture, which are the mean of all."""
        shape = self._score.input_signature[0].shape[1:]
        one = tf.constant(np.zeros(shape, np.float16) if features is None else features)[tf.newaxis]
        found = np.zeros(len(captions))
        order = sorted(range(len(captions)), key=lambda i: -len(captions[i].ids))  # longest first
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            tokens = np.full((1, len(rows), len(captions[rows[0]].ids)), PAD_ID, np.int32)
            for row, i in enumerate(rows):
                tokens[0, row, : len(captions[i].ids)] = captions[i].ids
            shown = tf.constant(0.0 if features is None else 1.0)
            found[rows] = self._score(one, tf.constant(tokens), shown).numpy()
        return found
