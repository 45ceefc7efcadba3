"""Words at both ends of a network: ids to vectors, vectors to logits.

    >>> words = Words(make, vocabulary_size=5000, width=256, tied=True)
    >>> words.logits(words.embed(ids))           # int (…,) to float32 (…, 5000)

Tied, both ends share one matrix (Press and Wolf, arXiv 1608.05859; Inan et al., 1611.01462).

Shapes: N words, E width, V words.
"""

from __future__ import annotations

import math

import tensorflow as tf

from memefly.networks.seeded import Initializer


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

    def output(self) -> tf.Tensor:
        """What few vectors are best multiplied by, float32 (E, V). Part of a network's memory: a matrix that is tied is
        turned once for all words of a search, and not read across its rows for each."""
        return tf.transpose(self.embedding) if self.kernel is None else tf.convert_to_tensor(self.kernel)

    def logits(self, x: tf.Tensor, output: tf.Tensor | None = None) -> tf.Tensor:
        """Float32 (N, E) to (N, V), by `output` where that is at hand."""
        if output is not None:
            return x @ output + self.bias
        tied = self.kernel is None
        return tf.linalg.matmul(x, self.embedding if tied else self.kernel, transpose_b=tied) + self.bias
