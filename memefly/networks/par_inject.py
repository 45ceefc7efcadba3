"""Par-inject: the picture goes into the recurrent network beside every word.

Tanti, Gatt and Camilleri, "Where to put the Image in an Image Caption Generator", arXiv 1703.09137, after Mao et al.,
1412.6632. This is also the network of the original memefly.

    i        = W mean_l(f_l)                          the picture as one vector
    h_t      = GRU or LSTM([E y_t-1, i], h_t-1)
    p(y_t)   = softmax(O tanh(H h_t))

The picture's share of the gates is the same at every step and computed once a picture. There is no attention: the
alphas told are uniform, which is what a mean over positions gives each of them.

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


class ParInjectNetwork(tf.Module):
    attends = normalized = False

    def __init__(self, config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int):
        super().__init__(name="par_inject_network")
        self.config, self.vocabulary_size = config, vocabulary_size
        E, U = config.embedding, config.units
        make = Initializer(seed)
        self.pooled = Pooled(make, feature_shape, E)
        self.positions = self.pooled.positions
        self.cell = Cell(make, config.cell, U, {"word": E, "picture": E})
        self.words = Words(make, vocabulary_size, E, config.tie_weights)
        self.output_state = make.glorot("output/state", [U, E])

    def encode(self, features, *, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        picture = dropout(self.pooled(features))  # (P, E)
        start = tf.zeros([tf.shape(picture)[0], self.config.units * self.cell.states])
        return (self.cell.project("picture", picture), self.words.output()), self.cell.start(start)

    def step(self, memory, state, token):
        picture, output = memory  # (P, G * U), (E, V)
        picture = tf.repeat(picture, tf.shape(token)[0] // tf.maximum(1, tf.shape(picture)[0]), axis=0)  # (B, G * U)
        gates = self.cell.project("word", self.words.embed(token)) + self.cell.bias + picture
        recurrent = state[0] @ self.cell.recurrent + self.cell.recurrent_bias
        state = self.cell.advance(gates, recurrent, state)
        return self._logits(state[0], output), state, uniform_alphas(tf.ones_like(token, tf.bool), self.positions)

    def _logits(self, hidden, output=None, dropout=None):
        mixed = tf.tanh(hidden @ self.output_state)
        return self.words.logits(dropout(mixed) if dropout else mixed, output)

    def teacher_forced(self, features, tokens, *, fed=None, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        (picture, _), state = self.encode(features, training=training, noise=dropout.fork())
        state = tuple(tf.repeat(s, tf.shape(tokens)[1], axis=0) for s in state)  # each (B, U)
        packed = Packed(tokens)
        words = dropout(self.words.embed(packed.ids(tokens if fed is None else fed)))  # (N, E)
        gates = self.cell.project("word", words) + tf.gather(picture, packed.picture)  # (N, G*U)
        hiddens = packed.real_rows(unroll_plain(self.cell, gates, state, packed))  # (R, U)
        return self._logits(hiddens, dropout=dropout), uniform_alphas(packed.real, self.positions)
