"""Words at both ends of a network: ids to vectors, vectors to logits.

    >>> words = Words(make, vocabulary_size=5000, width=256, tied=True)
    >>> words.logits(words.embed(ids))           # int (…,) to float32 (…, 5000)

Tied, both ends share one matrix (Press and Wolf, arXiv 1608.05859; Inan et al., 1611.01462).

Shapes: P pictures, C captions a picture, B = P * C, T tokens, E width, V words.
"""

from __future__ import annotations

import math

import tensorflow as tf

from memefly.networks.seeded import Initializer
from memefly.text import PAD_ID


class Words(tf.Module):
    def __init__(self, make: Initializer, vocabulary_size: int, width: int, tied: bool):
        super().__init__(name="words")
        self.embedding = make.normal("words/embedding", [vocabulary_size, width], 1 / math.sqrt(width))
        self.kernel = None if tied else make.glorot("words/kernel", [width, vocabulary_size])
        self.bias = make.zeros("words/bias", [vocabulary_size])

    def embed(self, ids: tf.Tensor) -> tf.Tensor:
        """Int (…,) to float32 (…, E)."""
        # Of the value, not the variable: to gather from a variable makes every later read of it a copy.
        return tf.gather(tf.convert_to_tensor(self.embedding), ids)

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        """Float32 (N, E) to (N, V)."""
        tied = self.kernel is None
        return tf.linalg.matmul(x, self.embedding if tied else self.kernel, transpose_b=tied) + self.bias

    def inputs_of(self, tokens: tf.Tensor, fed: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings (T - 1, B, E) of all words but the last (of `fed`, where that is given, in their place), and which
        of the words that follow them are there at all, bool (T - 1, B). Tokens are int (P, C, T)."""
        tokens = tf.transpose(tf.reshape(tokens, [-1, tf.shape(tokens)[2]]))  # (T, B)
        if fed is None:
            fed = tokens
        else:
            fed = tf.transpose(tf.reshape(fed, [-1, tf.shape(fed)[2]]))
        return self.embed(fed[:-1]), tf.not_equal(tokens[1:], PAD_ID)


def real_rows(x: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Of (T, B, width), those that `real` (T, B) names, as (R, width), caption after caption."""
    steps, captions = tf.shape(real)[0], tf.shape(real)[1]
    order = tf.boolean_mask(tf.transpose(tf.reshape(tf.range(steps * captions), [steps, captions])), tf.transpose(real))
    return tf.gather(tf.reshape(x, [-1, x.shape[-1]]), order)
