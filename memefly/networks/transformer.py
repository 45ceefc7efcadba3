"""A transformer decoder: every word looks at the words before it and at the positions of the picture.

Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, its decoder alone, with norms before each part (Xiong et
al., 2002.04745), over a picture's projected features:

    m_i      = W f_i + p_i                             features projected once a picture, with learned positions
    x_0      = sqrt(E) E y_t-1 + s_t                   words, and their place in the caption as sines (sec. 3.5)
    x        = x + SelfAttention(norm(x))              over the words so far
    x        = x + CrossAttention(norm(x), m)          over the picture
    x        = x + W_2 relu(W_1 norm(x))               of inner width `units`
    p(y_t)   = softmax(O norm(x))

A caption whose words are known goes through in one piece. When one is written word by word, each layer's keys and
values of the words so far are the state: it grows by a word a step, and nothing is computed twice.

Shapes: P pictures, C captions a picture, B = P * C captions, L = h * w positions, D feature channels, E embedding, A
attention units, N heads, a = A / N, T tokens, S = T - 1 steps, V words, t words so far.
"""

from __future__ import annotations

import math

import tensorflow as tf

from memefly.networks.interface import NetworkConfig
from memefly.networks.seeded import Dropout, Initializer
from memefly.networks.words import Words
from memefly.text import PAD_ID

_NEVER = -1e9


class TransformerNetwork(tf.Module):
    attends, normalized = True, False

    def __init__(self, config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int):
        super().__init__(name="transformer_network")
        self.config, self.vocabulary_size = config, vocabulary_size
        self.positions, self._channels = feature_shape[0] * feature_shape[1], feature_shape[2]
        E = config.embedding
        make = Initializer(seed)
        self.project_kernel = make.glorot("project/kernel", [self._channels, E])
        self.project_bias = make.zeros("project/bias", [E])
        self.position = make.normal("position", [self.positions, E], 0.02)
        self.layers = [Layer(make, f"layer_{i}", config) for i in range(config.layers)]
        self.norm = Norm(make, "norm", E)
        self.words = Words(make, vocabulary_size, E, config.tie_weights)

    def encode(self, features, *, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        features = tf.reshape(features, [-1, self.positions, self._channels])  # (P, L, D)
        picture = dropout(tf.tensordot(features, self.project_kernel, 1) + self.project_bias) + self.position
        memory = (*(layer.of_picture(picture) for layer in self.layers), self.words.output())
        P, N = tf.shape(features)[0], self.config.heads
        nothing = tf.zeros([P, 2 * N, 0, self.config.attention_units // N])  # said so far
        return memory, (nothing,) * len(self.layers)

    def step(self, memory, state, token):
        place = tf.cast(tf.shape(state[0])[2], tf.float32)[tf.newaxis]
        x = self._embed(token) + sines(place, self.config.embedding)  # (B, E)
        grown = []
        *pictures, output = memory
        for layer, picture, past in zip(self.layers, pictures, state):
            x, past, alphas = layer.step(x, picture, past)
            grown.append(past)
        return self.words.logits(self.norm(x), output), tuple(grown), tf.reshape(alphas, [-1, self.positions])

    def _embed(self, ids):
        return self.words.embed(ids) * math.sqrt(self.config.embedding)

    def teacher_forced(self, features, tokens, *, fed=None, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        (*pictures, _), _ = self.encode(features, training=training, noise=dropout.fork())
        C, S = tf.shape(tokens)[1], tf.shape(tokens)[2] - 1
        read = tf.reshape((tokens if fed is None else fed)[..., :-1], [-1, S])  # (B, S)
        real = tf.not_equal(tf.reshape(tokens[..., 1:], [-1, S]), PAD_ID)  # (B, S)
        x = dropout(self._embed(read) + sines(tf.range(tf.cast(S, tf.float32)), self.config.embedding))  # (B, S, E)
        later = _NEVER * (1.0 - tf.linalg.band_part(tf.ones([S, S]), -1, 0))  # (S, S)
        for layer, picture in zip(self.layers, pictures):
            x, alphas = layer(x, picture, C, later, dropout)
        told = self.norm(tf.boolean_mask(x, real))  # (R, E)
        return self.words.logits(dropout(told)), alphas * tf.cast(real, tf.float32)[..., tf.newaxis]


class Layer(tf.Module):
    """Self-attention, attention to the picture, and a feed-forward network, each beside a residual."""

    def __init__(self, make: Initializer, name: str, config: NetworkConfig):
        super().__init__(name=name)
        E, A, F = config.embedding, config.attention_units, config.units
        self._heads, self._width = config.heads, A // config.heads
        self.self_norm = Norm(make, f"{name}/self/norm", E)
        self.self_kernel = make.glorot(f"{name}/self/query_key_value", [E, 3 * A])
        self.self_output = make.glorot(f"{name}/self/output", [A, E])
        self.cross_norm = Norm(make, f"{name}/cross/norm", E)
        self.cross_query = make.glorot(f"{name}/cross/query", [E, A])
        self.cross_kernel = make.glorot(f"{name}/cross/key_value", [E, 2 * A])
        self.cross_output = make.glorot(f"{name}/cross/output", [A, E])
        self.inner_norm = Norm(make, f"{name}/inner/norm", E)
        self.inner_kernel = make.glorot(f"{name}/inner/kernel", [E, F])
        self.inner_bias = make.zeros(f"{name}/inner/bias", [F])
        self.outer_kernel = make.glorot(f"{name}/outer/kernel", [F, E])
        self.outer_bias = make.zeros(f"{name}/outer/bias", [E])

    def of_picture(self, picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(P, L, E) to keys and values (P, N, L, a)."""
        keys, values = tf.split(tf.tensordot(picture, self.cross_kernel, 1), 2, axis=-1)
        return self._apart(keys), self._apart(values)

    def __call__(self, x, picture, captions, later, dropout):
        """All words at once: x (B, S, E) to the same and alphas (B, S, L); `later` (S, S) hides what is to come."""
        S, E = tf.shape(x)[1], x.shape[2]
        queries, keys, values = tf.split(tf.tensordot(self.self_norm(x), self.self_kernel, 1), 3, axis=-1)
        mixed, _ = self._attend(self._apart(queries), self._apart(keys), self._apart(values), later)
        x += dropout(tf.tensordot(self._together(mixed), self.self_output, 1))
        # A picture's captions one behind the other: its keys and values are never copied.
        queries = tf.tensordot(self.cross_norm(x), self.cross_query, 1)
        queries = tf.reshape(queries, [-1, captions * S, self._heads * self._width])  # (P, C * S, A)
        mixed, weights = self._attend(self._apart(queries), *picture)
        of_picture = tf.tensordot(self._together(mixed), self.cross_output, 1)
        x += dropout(tf.reshape(of_picture, [-1, S, E]))
        x += dropout(self._feed_forward(x))
        alphas = tf.reduce_mean(weights, axis=1)  # (P, C * S, L)
        return x, tf.reshape(alphas, [-1, S, tf.shape(alphas)[2]])

    def step(self, x, picture, past):
        """One more word: x (B, E) and `past` (B, 2 N, t, a), keys and values, to x, past with it, alphas (P, C, L)."""
        N, a = self._heads, self._width
        gates = tf.reshape(self.self_norm(x) @ self.self_kernel, [-1, 3 * N, 1, a])
        past = tf.concat([past, gates[:, N:]], axis=2)
        mixed, _ = self._attend(gates[:, :N], past[:, :N], past[:, N:])
        x += tf.reshape(mixed, [-1, N * a]) @ self.self_output
        P = tf.shape(picture[0])[0]
        queries = self._apart(tf.reshape(self.cross_norm(x) @ self.cross_query, [P, -1, N * a]))  # (P, N, C, a)
        mixed, weights = self._attend(queries, *picture)
        x += tf.reshape(self._together(mixed), [-1, N * a]) @ self.cross_output
        return x + self._feed_forward(x), past, tf.reduce_mean(weights, axis=1)

    def _feed_forward(self, x):
        inner = tf.nn.relu(_times(self.inner_norm(x), self.inner_kernel) + self.inner_bias)
        return _times(inner, self.outer_kernel) + self.outer_bias

    def _attend(self, queries, keys, values, mask=None):
        """Queries (…, q, a) over keys and values (…, k, a) to (…, q, a) and weights (…, q, k)."""
        scores = tf.linalg.matmul(queries, keys, transpose_b=True) / math.sqrt(self._width)
        weights = tf.nn.softmax(scores if mask is None else scores + mask)
        return tf.linalg.matmul(weights, values), weights

    def _apart(self, x):
        """(B, n, A) to (B, N, n, a)."""
        return tf.transpose(tf.reshape(x, [tf.shape(x)[0], -1, self._heads, self._width]), [0, 2, 1, 3])

    def _together(self, x):
        """(B, N, n, a) to (B, n, A)."""
        return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [tf.shape(x)[0], -1, self._heads * self._width])


class Norm(tf.Module):
    """Layer normalisation (Ba et al., arXiv 1607.06450) over the last axis."""

    def __init__(self, make: Initializer, name: str, width: int):
        super().__init__(name="norm")
        self.gain, self.bias = make.ones(f"{name}/gain", [width]), make.zeros(f"{name}/bias", [width])

    def __call__(self, x):
        mean = tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=-1, keepdims=True)
        return (x - mean) * (tf.math.rsqrt(variance + 1e-5) * self.gain) + self.bias


def sines(places: tf.Tensor, width: int) -> tf.Tensor:
    """Places in a caption as sines and cosines (sec. 3.5): float32 (n,) to (n, width)."""
    half = (width + 1) // 2
    frequencies = tf.exp(tf.range(half, dtype=tf.float32) * (-math.log(10_000.0) / half))
    angles = places[:, tf.newaxis] * frequencies
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=1)[:, :width]


def _times(x, kernel):
    return x @ kernel if x.shape.rank == 2 else tf.tensordot(x, kernel, 1)
