"""Show, Attend and Tell: a recurrent captioner with soft attention over picture positions (arXiv 1502.03044).

    a_i      = W f_i + p_i                            values: features projected once a picture, with positions
    e_ti     = v^T tanh(K a_i + Q h_t-1)              attention scores (eq. 4, after Bahdanau et al., 1409.0473)
    alpha_t  = softmax(e_t)                           (eq. 5)
    z_t      = beta_t sum_i alpha_ti a_i,  beta_t = sigmoid(f h_t-1)       soft attention, gated (eq. 13, sec. 4.2.1)
    h_t      = GRU or LSTM([E y_t-1, z_t], h_t-1)     (eq. 1 to 3)
    p(y_t)   = softmax(O tanh(E y_t-1 + H h_t + Z z_t))                    deep output (eq. 7)

Two things differ from the paper. Features are projected to `attention_units` before attention, not after: attention
mixes them linearly, so nothing is lost that the width does not lose, and a step costs an eighth. Learned position
vectors are added, since a mixture over positions cannot otherwise say where on the picture it looked.

Pictures keep their values while C captions (or beams) a picture are written at once, so values and keys are never
copied: row p * C + c of everything that belongs to captions attends to picture p.

Shapes: P pictures, C captions a picture, B = P * C captions, L = h * w positions, D feature channels, A attention
units, E embedding, U units, T tokens, V words.
"""

from __future__ import annotations

import math

import tensorflow as tf

from memefly.networks import NetworkConfig
from memefly.text import PAD_ID


class AttentionNetwork(tf.Module):
    def __init__(self, config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int):
        super().__init__(name="attention_network")
        self.config, self.vocabulary_size = config, vocabulary_size
        self._positions = feature_shape[0] * feature_shape[1]
        V, L, D = vocabulary_size, self._positions, feature_shape[2]
        A, E, U = config.attention_units, config.embedding, config.units
        self._gates = {"gru": 3, "lstm": 4}[config.cell]
        make = _Initializer(seed)

        self.project_kernel = make.glorot("project/kernel", [D, A])
        self.project_bias = make.zeros("project/bias", [A])
        self.position = make.normal("position", [L, A], 0.02)
        self.key_kernel = make.glorot("attention/key", [A, A])
        self.query_kernel = make.glorot("attention/query", [U, A])
        self.score_kernel = make.glorot("attention/score", [A, 1])
        self.gate_kernel = make.glorot("attention/gate", [U, 1])
        self.gate_bias = make.zeros("attention/gate_bias", [1])
        self.state_kernel = make.glorot("state/kernel", [A, U * (2 if config.cell == "lstm" else 1)])
        self.state_bias = make.zeros("state/bias", [U * (2 if config.cell == "lstm" else 1)])
        self.embedding = make.normal("embedding", [V, E], 1 / math.sqrt(E))
        self.cell_word = make.glorot("cell/word", [E, self._gates * U])
        self.cell_context = make.glorot("cell/context", [A, self._gates * U])
        self.cell_recurrent = make.orthogonal("cell/recurrent", U, self._gates)
        self.cell_bias = make.zeros("cell/bias", [self._gates * U])
        self.cell_recurrent_bias = make.zeros("cell/recurrent_bias", [self._gates * U])
        self.output_state = make.glorot("output/state", [U, E])
        self.output_context = make.glorot("output/context", [A, E])
        self.output_kernel = make.glorot("output/kernel", [E, V])
        self.output_bias = make.zeros("output/bias", [V])

    # --- a picture ------------------------------------------------------------------------------------------------

    def encode(self, features, *, training=False, noise=None):
        dropout = _Dropout(self.config.dropout if training else 0.0, noise)
        features = tf.reshape(features, [-1, self._positions, self.project_kernel.shape[0]])  # (P, L, D)
        # Dropout comes after the projection: noise on the features themselves would bury what varies little in them.
        values = tf.linalg.matmul(features, self.project_kernel) + self.project_bias
        values = dropout(values) + self.position  # (P, L, A)
        keys = tf.linalg.matmul(values, self.key_kernel)  # (P, L, A)
        start = tf.tanh(tf.reduce_mean(values, axis=1) @ self.state_kernel + self.state_bias)
        state = tuple(tf.split(start, 2, axis=1)) if self.config.cell == "lstm" else (start,)  # each (P, U)
        return (keys, values), state

    # --- a word ---------------------------------------------------------------------------------------------------

    def step(self, memory, state, token):
        word = tf.gather(self.embedding, token)  # (B, E)
        state, context, alphas = self._advance(memory, state, word @ self.cell_word + self.cell_bias)
        return self._logits(word, state[0], context), state, alphas

    def _advance(self, memory, state, word_gates):
        """One recurrent step from the word's share of the gates (B, gates * U): state, context (B, A), alphas."""
        keys, values = memory  # (P, L, A)
        hidden = state[0]  # (B, U)
        P, L, A = tf.shape(keys)[0], self._positions, self.config.attention_units
        query = tf.reshape(hidden @ self.query_kernel, [P, -1, 1, A])
        energy = tf.tanh(keys[:, tf.newaxis] + query)  # (P, C, L, A)
        scores = tf.reshape(tf.reshape(energy, [-1, A]) @ self.score_kernel, [P, -1, L])
        alphas = tf.nn.softmax(scores)  # (P, C, L)
        context = tf.reshape(tf.linalg.matmul(alphas, values), [-1, A])  # (B, A)
        alphas = tf.reshape(alphas, [-1, L])  # (B, L)
        context *= tf.sigmoid(hidden @ self.gate_kernel + self.gate_bias)
        inputs = word_gates + context @ self.cell_context  # (B, gates * U)
        recurrent = hidden @ self.cell_recurrent + self.cell_recurrent_bias
        if self.config.cell == "gru":
            (update_in, reset_in, new_in) = tf.split(inputs, 3, axis=1)
            (update_re, reset_re, new_re) = tf.split(recurrent, 3, axis=1)
            update = tf.sigmoid(update_in + update_re)
            new = tf.tanh(new_in + tf.sigmoid(reset_in + reset_re) * new_re)
            state = (update * hidden + (1 - update) * new,)
        else:
            in_gate, forget, cell, out_gate = tf.split(inputs + recurrent, 4, axis=1)
            carried = tf.sigmoid(forget + 1.0) * state[1] + tf.sigmoid(in_gate) * tf.tanh(cell)
            state = (tf.sigmoid(out_gate) * tf.tanh(carried), carried)
        return state, context, alphas

    def _logits(self, word, hidden, context, dropout=None):
        """Deep output: (…, E), (…, U), (…, A) to (…, V)."""
        mixed = tf.tanh(word + hidden @ self.output_state + context @ self.output_context)
        return (dropout(mixed) if dropout else mixed) @ self.output_kernel + self.output_bias

    # --- a caption whose words are known --------------------------------------------------------------------------

    def teacher_forced(self, features, tokens, *, training=False, noise=None):
        dropout = _Dropout(self.config.dropout if training else 0.0, noise)
        memory, state = self.encode(features, training=training, noise=dropout.fork())
        C, T = tf.shape(tokens)[1], tf.shape(tokens)[2]
        state = tuple(tf.repeat(s, C, axis=0) for s in state)  # each (B, U)
        tokens = tf.reshape(tokens, [-1, T])  # (B, T)

        # All that does not depend on the state is done for every step at once; the loop keeps the rest.
        words = dropout(tf.gather(self.embedding, tokens[:, :-1]))  # (B, T-1, E)
        word_gates = tf.transpose(tf.tensordot(words, self.cell_word, 1) + self.cell_bias, [1, 0, 2])  # (T-1, B, ·)
        steps = tf.shape(word_gates)[0]
        arrays = [tf.TensorArray(tf.float32, steps) for _ in range(3)]

        def body(t, state, hiddens, contexts, alphas):
            state, context, alpha = self._advance(memory, state, word_gates[t])
            return t + 1, state, hiddens.write(t, state[0]), contexts.write(t, context), alphas.write(t, alpha)

        _, _, *arrays = tf.while_loop(lambda t, *_: t < steps, body, (0, state, *arrays), maximum_iterations=steps)
        hiddens, contexts, alphas = (tf.transpose(a.stack(), [1, 0, 2]) for a in arrays)  # (B, T-1, U), A, L

        real = tf.not_equal(tokens[:, 1:], PAD_ID)  # (B, T-1)
        logits = self._logits(  # of real tokens only: padding is a third of the rows, and V is the widest layer
            *(tf.boolean_mask(x, real) for x in (words, hiddens, contexts)), dropout=dropout
        )
        return logits, alphas


class _Initializer:
    """Seeded initial weights: the k-th weight of a network depends on the seed and k alone."""

    def __init__(self, seed: int):
        self._seed, self._count = seed, 0

    def _next(self):
        self._count += 1
        return [self._seed, self._count]

    def zeros(self, name, shape):
        self._count += 1
        return tf.Variable(tf.zeros(shape), name=name)

    def normal(self, name, shape, stddev):
        return tf.Variable(tf.random.stateless_normal(shape, self._next(), stddev=stddev), name=name)

    def glorot(self, name, shape):
        limit = math.sqrt(6 / (shape[0] + shape[1]))
        return tf.Variable(tf.random.stateless_uniform(shape, self._next(), -limit, limit), name=name)

    def orthogonal(self, name, units, blocks):
        squares = [tf.linalg.qr(tf.random.stateless_normal([units, units], self._next()))[0] for _ in range(blocks)]
        return tf.Variable(tf.concat(squares, axis=1), name=name)


class _Dropout:
    """Dropout whose masks follow from a pair of integers and the order of calls, not from any hidden state."""

    def __init__(self, rate: float, noise):
        self._rate, self._noise, self._calls = rate, noise, 0

    def __call__(self, x):
        return tf.nn.experimental.stateless_dropout(x, self._rate, self.fork()) if self._rate else x

    def fork(self):
        """A pair of its own for a further generator."""
        if not self._rate:
            return None
        self._calls += 1
        return tf.random.experimental.stateless_fold_in(tf.cast(tf.stack(self._noise), tf.int32), self._calls)
