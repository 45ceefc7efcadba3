"""Show, Attend and Tell: a recurrent captioner with soft attention over picture positions (arXiv 1502.03044).

    a_i      = W f_i + p_i                            values: features projected once a picture, with positions
    e_ti     = v^T tanh(K a_i + Q h_t-1)              additive scores (eq. 4, after Bahdanau et al., 1409.0473), or
    e_ti     = (K a_i)^T (Q h_t-1) / sqrt(A)          dot products (Luong et al., 1508.04025; scaled: 1706.03762)
    alpha_t  = softmax(e_t)                           (eq. 5)
    z_t      = beta_t sum_i alpha_ti a_i,  beta_t = sigmoid(f h_t-1)       soft attention, gated (eq. 13, sec. 4.2.1)
    h_t      = GRU or LSTM([E y_t-1, z_t], h_t-1)     (eq. 1 to 3)
    p(y_t)   = softmax(O tanh(E y_t-1 + H h_t + Z z_t))                    deep output (eq. 7)

Two things differ from the paper. Features are projected to `attention_units` before attention, not after: attention
mixes them linearly, so nothing is lost that the width does not lose, and a step costs an eighth. Learned position
vectors are added, since a mixture over positions cannot otherwise say where on the picture it looked.

Dot products come in `heads` (arXiv 1706.03762), each with its own weights over positions and its own slice of the
values; the alphas told are their mean.

Pictures keep their values while C captions (or beams) a picture are written at once, so values and keys are never
copied: row p * C + c of everything that belongs to captions attends to picture p.

Shapes: P pictures, C captions a picture, B = P * C captions, L = h * w positions, D feature channels, A attention
units, N heads, E embedding, U units, T tokens, V words.
"""

from __future__ import annotations

import math

import tensorflow as tf

from memefly.networks.interface import NetworkConfig
from memefly.networks.packed import Packed
from memefly.networks.recurrent import Cell, Late
from memefly.networks.seeded import Dropout, Initializer
from memefly.networks.words import Words


class AttentionNetwork(tf.Module):
    attends, normalized = True, False

    def __init__(self, config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int):
        super().__init__(name="attention_network")
        self.config, self.vocabulary_size = config, vocabulary_size
        self.positions, self._channels = feature_shape[0] * feature_shape[1], feature_shape[2]
        A, E, U = config.attention_units, config.embedding, config.units
        make = Initializer(seed)
        self.project_kernel = make.glorot("project/kernel", [self._channels, A])
        self.project_bias = make.zeros("project/bias", [A])
        self.position = make.normal("position", [self.positions, A], 0.02)
        self.key_kernel = make.glorot("attention/key", [A, A])
        self.query_kernel = make.glorot("attention/query", [U, A])
        if config.attention == "additive":
            self.score_kernel = make.glorot("attention/score", [A, 1])
        self.gate_kernel = make.glorot("attention/gate", [U, 1])
        self.gate_bias = make.zeros("attention/gate_bias", [1])
        self.cell = Cell(make, config.cell, U, {"word": E, "context": A})
        self.state_kernel = make.glorot("state/kernel", [A, U * self.cell.states])
        self.state_bias = make.zeros("state/bias", [U * self.cell.states])
        self.words = Words(make, vocabulary_size, E, config.tie_weights)
        self.output_state = make.glorot("output/state", [U, E])
        self.output_context = make.glorot("output/context", [A, E])

    # --- a picture ------------------------------------------------------------------------------------------------

    def encode(self, features, *, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        features = tf.reshape(features, [-1, self.positions, self._channels])  # (P, L, D)
        # Dropout comes after the projection: noise on the features themselves would bury what varies little in them.
        values = tf.tensordot(features, self.project_kernel, 1) + self.project_bias
        values = dropout(values) + self.position  # (P, L, A)
        keys = tf.tensordot(values, self.key_kernel, 1)  # (P, L, A)
        start = tf.tanh(tf.reduce_mean(values, axis=1) @ self.state_kernel + self.state_bias)
        return (self._heads(keys), self._heads(values), *self._of_hidden(), self.words.output()), self.cell.start(start)

    def _heads(self, x):
        """(P, L, A) to (P, N, L, A / N)."""
        N = self.config.heads
        if N == 1:
            return x[:, tf.newaxis]
        return tf.transpose(tf.reshape(x, [-1, self.positions, N, self.config.attention_units // N]), [0, 2, 1, 3])

    # --- a word ---------------------------------------------------------------------------------------------------

    def step(self, memory, state, token):
        word = self.words.embed(token)  # (B, E)
        *memory, kernel, bias, output = memory
        state, context, alphas = self._advance(
            memory,
            self.cell.project("word", word) + self.cell.bias,
            state[0] @ kernel + bias,
            lambda context: self.cell.project("context", context),
            state,
        )
        return self._logits(word, state[0], context, output), state, alphas

    def _of_hidden(self):
        """All that the hidden state is multiplied by, side by side: the gates', the query's and the gating scalar's.
        They are part of the memory, so that no step puts them together anew."""
        kernel = tf.concat([self.cell.recurrent, self.query_kernel, self.gate_kernel], axis=1)  # (U, G*U + A + 1)
        no_bias = tf.zeros([self.config.attention_units])
        return kernel, tf.concat([self.cell.recurrent_bias, no_bias, self.gate_bias], axis=0)

    def _advance(self, memory, word_gates, of_hidden, project_context, state, score=tf.matmul):
        """One recurrent step from the word's share of the gates (B, G * U) and what comes of the hidden state
        (B, G * U + A + 1): state, context (B, A), alphas (B, L). `score` multiplies energies by the score kernel."""
        keys, values = memory  # (P, N, L, A/N)
        P, A = tf.shape(keys)[0], self.config.attention_units
        recurrent, query, gate = tf.split(of_hidden, [self.cell.gates, A, 1], axis=1)
        alphas = tf.nn.softmax(self._scores(keys, tf.reshape(query, [P, -1, A]), score))  # (P, N, C, L)
        context = tf.linalg.matmul(alphas, values)  # (P, N, C, A/N)
        if self.config.heads > 1:
            context = tf.transpose(context, [0, 2, 1, 3])
            alphas = tf.reduce_mean(alphas, axis=1)
        context = tf.reshape(context, [-1, A]) * tf.sigmoid(gate)  # (B, A)
        alphas = tf.reshape(alphas, [-1, self.positions])  # (B, L)
        return self.cell.advance(word_gates + project_context(context), recurrent, state), context, alphas

    def _scores(self, keys, query, score):
        """keys (P, N, L, A / N), query (P, C, A) to scores (P, N, C, L)."""
        A, N, L = self.config.attention_units, self.config.heads, self.positions
        if self.config.attention == "additive":
            energy = tf.tanh(keys + query[:, :, tf.newaxis])  # (P, C, L, A); N is 1
            return tf.reshape(score(tf.reshape(energy, [-1, A]), self.score_kernel), [tf.shape(keys)[0], 1, -1, L])
        query = tf.reshape(query, [tf.shape(query)[0], -1, N, A // N])  # (P, C, N, A/N)
        return tf.linalg.matmul(tf.transpose(query, [0, 2, 1, 3]), keys, transpose_b=True) / math.sqrt(A // N)

    def _logits(self, word, hidden, context, output=None, dropout=None):
        """Deep output: (…, E), (…, U), (…, A) to (…, V)."""
        mixed = tf.tanh(word + hidden @ self.output_state + context @ self.output_context)
        return self.words.logits(dropout(mixed) if dropout else mixed, output)

    # --- a caption whose words are known --------------------------------------------------------------------------

    def teacher_forced(self, features, tokens, *, fed=None, training=False, noise=None):
        dropout = Dropout(self.config.dropout if training else 0.0, noise)
        (*memory, kernel, bias, _), state = self.encode(features, training=training, noise=dropout.fork())
        C = tf.shape(tokens)[1]
        state = tuple(tf.repeat(s, C, axis=0) for s in state)  # each (B, U)
        packed = Packed(tokens)
        words = dropout(self.words.embed(packed.ids(tokens if fed is None else fed)))  # (N, E)

        of_hidden, of_context = Late(kernel), Late(self.cell.kernels["context"])
        word_gates = of_context.watch(self.cell.project("word", words) + self.cell.bias)  # (N, G*U)
        offsets = of_hidden.watch(tf.broadcast_to(bias, [tf.shape(words)[0], bias.shape[0]]))

        def step(inputs, state):
            word_gates, offset = inputs
            hidden = of_hidden.product(state[0]) + offset
            state, context, alphas = self._advance(memory, word_gates, hidden, of_context.product, state, _to_scores)
            return state, (state[0], context, alphas)

        widths = [self.config.units, self.config.attention_units, self.positions]
        hiddens, contexts, alphas = packed.unroll(step, (word_gates, offsets), state, widths)
        of_hidden.inputs, of_context.inputs = packed.before(state[0], hiddens), contexts
        words, hiddens, contexts = (packed.real_rows(x) for x in (words, hiddens, contexts))
        return self._logits(words, hiddens, contexts, dropout=dropout), packed.dense(alphas)


@tf.custom_gradient
def _to_scores(energy, kernel):
    """(N, A) times (A, 1), for training: its gradient for the energies is an outer product, which is slow on a CPU when
    it is taken as a matrix product."""

    def gradient(upstream):  # (N, 1)
        return upstream * tf.transpose(kernel), tf.linalg.matmul(energy, upstream, transpose_a=True)

    return energy @ kernel, gradient
