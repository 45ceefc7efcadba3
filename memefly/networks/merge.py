"""Merge: the recurrent network reads words alone, and the picture joins it where the next word is chosen.

Tanti, Gatt and Camilleri, "Where to put the Image in an Image Caption Generator", arXiv 1703.09137.

    i        = W mean_l(f_l)                          the picture as one vector
    h_t      = GRU or LSTM(E y_t-1, h_t-1)            a language model, pictures unseen
    p(y_t)   = softmax(O tanh(H h_t + I i))

There is no attention: the alphas told are uniform, which is what a mean over positions gives each of them.

Shapes: P pictures, C captions a picture, B = P * C captions, L = h * w positions, D feature channels, E embedding, U
units, T tokens, V words.
"""

from __future__ import annotations

import tensorflow as tf

from memefly.networks.interface import NetworkConfig
from memefly.networks.packed import Packed
from memefly.networks.pooled import Pooled, uniform_alphas
from memefly.networks.recurrent import Cell, unroll_plain
from memefly.networks.seeded import Dropout, Initializer
from memefly.networks.words import Words


class MergeNetwork(tf.Module):
    attends = normalized = False

    def __init__(self, config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int):
        super().__init__(name="merge_network")
        self.config, self.vocabulary_size = config, vocabulary_size
        E, U = config.embedding, config.units
        make = Initializer(seed)
        self.pooled = Pooled(make, feature_shape, E)
        self.positions = self.pooled.positions
        self.cell = Cell(make, config.cell, U, {"word": E})
        self.words = Words(make, vocabulary_size, E, config.tie_weights)
        self.output_state = make.glorot("output/state", [U, E])
        self.output_picture = make.glorot("output/picture", [E, E])

    def encode(self, features, *, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        picture = dropout(self.pooled(features))  # (P, E)
        start = tf.zeros([tf.shape(picture)[0], self.config.units * self.cell.states])
        return (picture @ self.output_picture, self.words.output()), self.cell.start(start)

    def step(self, memory, state, token):
        gates = self.cell.project("word", self.words.embed(token)) + self.cell.bias
        state = self.cell.advance(gates, state[0] @ self.cell.recurrent + self.cell.recurrent_bias, state)
        picture, output = memory
        picture = tf.repeat(picture, tf.shape(state[0])[0] // tf.maximum(1, tf.shape(picture)[0]), axis=0)  # (B, E)
        alphas = uniform_alphas(tf.ones_like(token, tf.bool), self.positions)
        return self._logits(state[0], picture, output), state, alphas

    def _logits(self, hidden, picture, output=None, dropout=None):
        mixed = tf.tanh(hidden @ self.output_state + picture)
        return self.words.logits(dropout(mixed) if dropout else mixed, output)

    def teacher_forced(self, features, tokens, *, fed=None, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        (picture, _), state = self.encode(features, training=training, noise=dropout.fork())
        state = tuple(tf.repeat(s, tf.shape(tokens)[1], axis=0) for s in state)  # each (B, U)
        packed = Packed(tokens)
        words = dropout(self.words.embed(packed.ids(tokens if fed is None else fed)))  # (N, E)
        hiddens = packed.real_rows(unroll_plain(self.cell, self.cell.project("word", words), state, packed))  # (R, U)
        pictures = packed.real_rows(tf.gather(picture, packed.picture))  # (R, E)
        return self._logits(hiddens, pictures, dropout=dropout), uniform_alphas(packed.real, self.positions)
