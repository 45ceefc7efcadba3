"""How likely a network takes captions that people wrote.

    >>> likelihood = likelihood_of("root/serving/captioner")
    >>> likelihood.log_probs(model.features([picture.data])[0], [likelihood.written("a cat")])   # float64 (1,)

Shapes: C captions, T tokens, R real ones, V words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from memefly.metrics.information import Written
from memefly.networks import Network
from memefly.spelling import Spelling
from memefly.text import PAD_ID, Vocabulary

_BATCH = 64  # captions at once


class Likelihood:
    def __init__(
        self,
        network: Network,
        features_of: Callable[[tf.Tensor], tf.Tensor],
        signature: tf.TensorSpec,
        vocabulary: Vocabulary,
        spelling: Spelling,
    ):
        """`features_of`: a batch of what is shown, as `signature` has it, to standardised features."""
        self._vocabulary, self._spelling, self._shape = vocabulary, spelling, signature.shape[1:]

        def score(shown: tf.Tensor, tokens: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
            """One picture (1, …) and tokens int32 (1, C, T) to log-probabilities float32 (C,)."""
            features = features_of(shown) * share
            logits, _ = network.teacher_forced(features, tokens, fed=None, training=False, noise=None)  # (R, V)
            targets = tokens[0, :, 1:]  # (C, T - 1)
            real = tf.not_equal(targets, PAD_ID)
            of_each = -tf.nn.sparse_softmax_cross_entropy_with_logits(tf.boolean_mask(targets, real), logits)
            return tf.reduce_sum(tf.scatter_nd(tf.where(real), of_each, tf.shape(real, tf.int64)), axis=1)

        self._score = tf.function(
            score,
            input_signature=[
                tf.TensorSpec([1, *self._shape], signature.dtype),
                tf.TensorSpec([1, None, None], tf.int32),
                tf.TensorSpec([], tf.float32),
            ],
            autograph=False,
        )

    def written(self, caption: str) -> Written:
        """A caption in the network's own tokens."""
        return Written.of(caption, self._vocabulary, self._spelling)

    def log_probs(self, shown: np.ndarray | bytes | None, captions: Sequence[Written]) -> np.ndarray:
        """Natural logarithms float64 (C,) of captions' probabilities, given one picture as `signature` has it; or none,
        where that has features: then those of no picture, which are the mean of all."""
        one = tf.constant(np.zeros(self._shape, np.float16) if shown is None else shown)[tf.newaxis]
        found = np.zeros(len(captions))
        order = sorted(range(len(captions)), key=lambda i: -len(captions[i].ids))  # longest first
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            tokens = np.full((1, len(rows), len(captions[rows[0]].ids)), PAD_ID, np.int32)
            for row, i in enumerate(rows):
                tokens[0, row, : len(captions[i].ids)] = captions[i].ids
            share = tf.constant(0.0 if shown is None else 1.0)
            found[rows] = self._score(one, tf.constant(tokens), share).numpy()
        return found
