"""A network and an n-gram model that choose each word together.

    p(w) = g p_network(w | picture, all words so far) + (1 - g) p_ngram(w | the last words)

Linear interpolation (Jelinek and Mercer, 1980; with neural networks Mikolov et al., Interspeech 2010). Much of what
people write is set phrases, which counting learns from a few sights and a network from many; what a picture has to do
with it only the network knows. How far the network is trusted, g, depends on what the n-gram model knows of the words
before: how many of them it has seen together, and how much that leaves to fewer of them. Its tables are counted on the
captions of train (`memefly.ngrams`), g is fitted on val (`fit`); gradients reach neither. What ends a caption or one of
its text boxes is the network's alone to choose (`leave`): how many there are the picture says, and no set phrase.

Shapes: P pictures, N hypotheses, V words, n the order, H = n - 1 words of a history, R real tokens, S slots, F
followers of a history, all of its lengths together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from memefly.networks.interface import Network
from memefly.ngrams import FOLLOWERS, SALT, SLOTS, STEP, Ngrams
from memefly.text import PAD_ID, START_ID

_RESTS = 8  # kinds of histories by how much they leave to shorter ones
_LEAST = 1e-30  # a probability, so that no word's logarithm is infinite
_ROUNDS, _DOUBT = 60, 20.0  # of expectation and maximisation; words of each kind that are as all words are


class Interpolated(tf.Module):
    """The network, with an n-gram model beside it; made without counts, which `fill` or a checkpoint brings. Its logits
    are log-probabilities; its alphas are the network's."""

    def __init__(self, network: Network, order: int):
        super().__init__(name="interpolated")
        self.network, self.ngrams = network, NgramTables(order)
        self.trust = tf.Variable(tf.ones([self.ngrams.kinds]), name="trust", trainable=False)  # g, by kind of history
        self.left = tf.Variable(tf.zeros([network.vocabulary_size]), name="left", trainable=False)  # 1 for such tokens
        self.vocabulary_size, self.positions, self.attends = network.vocabulary_size, network.positions, network.attends
        self.normalized = True

    def encode(self, features):
        memory, state = self.network.encode(features)
        return memory, (*state, tf.fill([tf.shape(features)[0], self.ngrams.order - 1], START_ID))

    def step(self, memory, state, token):
        *state, history = state
        logits, state, alphas = self.network.step(memory, tuple(state), token)
        history = tf.concat([history[:, 1:], tf.expand_dims(token, 1)], axis=1)
        return self._mixed(logits, history), (*state, history), alphas

    def teacher_forced(self, features, tokens, *, fed=None, training=False, noise=None):
        logits, alphas = self.network.teacher_forced(features, tokens, fed=fed, training=training, noise=noise)
        return self._mixed(logits, self.histories(tokens if fed is None else fed, tokens)), alphas

    def histories(self, fed: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """What stands before each real token: int32 (P, C, T) each to (R, H), in the order of `teacher_forced`."""
        H, T = self.ngrams.order - 1, tf.shape(tokens)[2]
        padded = tf.pad(fed, [[0, 0], [0, 0], [H - 1, 0]], constant_values=START_ID)
        before = tf.stack([padded[:, :, back : back + T - 1] for back in range(H)], axis=3)  # (P, C, T - 1, H)
        return tf.boolean_mask(before, tf.not_equal(tokens[:, :, 1:], PAD_ID))

    def leave(self, ids: Sequence[int]) -> None:
        """Leaves these tokens to the network."""
        self.left.assign(
            tf.reduce_sum(tf.one_hot(tf.constant(sorted(set(ids)), tf.int32), self.vocabulary_size), axis=0)
        )

    def both(self, logits: tf.Tensor, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Probabilities of the next word by the network, from its logits (N, V), and by the n-gram model, both float32
        (N, V), those of tokens that are left to the network being its own; and the kind of history, int32 (N,)."""
        own = tf.nn.softmax(logits)
        counted, kind = self._others(history, own)
        return own, own * self.left + counted, kind

    def _others(self, history: tf.Tensor, own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What counting makes of all words but those that are left to the network, whose share of the whole they have:
        float32 (N, V), 0 for the others; and the kind of history."""
        counted, kind = self.ngrams(history)
        others = tf.expand_dims(1.0 - self.left, 1)  # (V, 1)
        owed, known = (tf.linalg.matmul(p, others) for p in (own, counted))  # (N, 1), sums in one pass
        return counted * (owed / tf.maximum(known, _LEAST)) * others[:, 0], kind

    def _mixed(self, logits: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
        own = tf.nn.softmax(logits)
        counted, kind = self._others(history, own)
        trust = tf.expand_dims(tf.gather(self.trust, kind), 1)
        doubt = 1.0 - trust
        return tf.math.log(own * (trust + doubt * self.left) + doubt * counted + _LEAST)

    def fit(self, by_network: np.ndarray, by_ngrams: np.ndarray, kinds: np.ndarray) -> None:
        """Sets how far the network is trusted from captions that neither has learnt from: probabilities float (R,) of
        the words that people wrote, by the one and by the other, and the kinds int (R,) of what stood before them. By
        expectation and maximisation; a kind that is seldom seen is as all are."""
        everywhere = _share_of(by_network, by_ngrams, 0.5, 0.0)
        trust = np.full(self.ngrams.kinds, everywhere, np.float32)
        for kind in np.unique(kinds):
            own = kinds == kind
            trust[kind] = _share_of(by_network[own], by_ngrams[own], everywhere, _DOUBT)
        self.trust.assign(trust)


def _share_of(first: np.ndarray, second: np.ndarray, prior: float, doubt: float) -> float:
    """The share of the first of two models in the likeliest mixture, `doubt` words being as the prior has it."""
    share = prior
    for _ in range(_ROUNDS):
        owed = share * first / np.maximum(share * first + (1 - share) * second, _LEAST)
        share = float((owed.sum() + doubt * prior) / (len(owed) + doubt))
    return share


class NgramTables(tf.Module):
    """`memefly.ngrams.Ngrams` in the graph."""

    def __init__(self, order: int):
        super().__init__(name="ngrams")
        self.order, self.kinds = order, order * _RESTS

        def table(name: str, kind: tf.DType) -> tf.Variable:
            return tf.Variable(tf.zeros([0], kind), name=name, trainable=False, shape=[None])

        self.first, self.rests, self.shares = (table(name, tf.float32) for name in ("first", "rests", "shares"))
        self.keys, self.starts, self.ends = (table(name, tf.int32) for name in ("keys", "starts", "ends"))
        self.words = table("words", tf.int32)

    def fill(self, counted: Ngrams) -> None:
        """Raises ValueError for a model of another order."""
        if counted.order != self.order:
            raise ValueError(f"expected n-grams of {self.order} tokens, got some of {counted.order}")
        for name in ("first", "keys", "starts", "ends", "rests", "words", "shares"):
            getattr(self, name).assign(getattr(counted, name))

    def __call__(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The last words int32 (N, H), the last one last and <s> before the first, to the probabilities of the next one
        float32 (N, V), and the kind of history int32 (N,), below `kinds`."""
        hashes = self._hashes(history)  # (N, H), of the last word, of the last two, …
        # Of their values, not the variables: to gather from a variable makes every later read of it a copy.
        keys, starts, ends, rests, followers, shares, first = (
            tf.convert_to_tensor(table)
            for table in (self.keys, self.starts, self.ends, self.rests, self.words, self.shares, self.first)
        )
        buckets = tf.size(keys) // SLOTS
        slots = tf.expand_dims(tf.math.floormod(hashes, buckets) * SLOTS, 2) + tf.range(SLOTS)  # (N, H, S)
        match = tf.equal(tf.gather(keys, slots), tf.expand_dims(hashes, 2))
        seen = tf.reduce_any(match, axis=2)  # (N, H)
        place = tf.reduce_max(tf.where(match, slots, 0), axis=2)
        rest = tf.where(seen, tf.gather(rests, place), 1.0)
        starts, ends = tf.gather(starts, place), tf.where(seen, tf.gather(ends, place), 0)  # (N, H)
        at, there, weights, left = [], [], [], tf.ones_like(rest[:, :1])  # (N, 1), by all longer histories
        for k in reversed(range(self.order - 1)):
            places = starts[:, k : k + 1] + tf.range(FOLLOWERS[min(k, len(FOLLOWERS) - 1)])
            at.append(places)
            there.append(places < ends[:, k : k + 1])
            weights.append(tf.where(there[-1], left, 0.0))
            left *= rest[:, k : k + 1]
        # Beside each other, (N, F): what is read of large tables is read at once.
        all_there = tf.concat(there, axis=1)
        read = tf.where(all_there, tf.concat(at, axis=1), 0)
        words = tf.where(all_there, tf.gather(followers, read), PAD_ID)
        shares = tf.gather(shares, read) * tf.concat(weights, axis=1)
        N, V = tf.shape(history)[0], tf.size(first)
        index = tf.expand_dims(tf.range(N) * V, 1) + words
        # As scatter_nd would have it, several times as fast.
        flat = tf.math.unsorted_segment_sum(tf.reshape(shares, [-1]), tf.reshape(index, [-1]), N * V)
        length = tf.reduce_max(tf.where(seen, tf.range(1, self.order), 0), axis=1)  # (N,), of the longest one seen
        own = tf.gather(tf.concat([tf.ones_like(rest[:, :1]), rest], axis=1), length, batch_dims=1)
        kind = length * _RESTS + tf.clip_by_value(tf.cast(own * _RESTS, tf.int32), 0, _RESTS - 1)
        return tf.reshape(flat, [N, V]) + first * left, kind

    def _hashes(self, history: tf.Tensor) -> tf.Tensor:
        """As `memefly.ngrams.hashes` has them."""
        value, found = tf.fill([tf.shape(history)[0]], SALT), []
        for back in range(self.order - 1):
            value = tf.bitwise.bitwise_xor(value, history[:, self.order - 2 - back] + 1) * STEP + (back + 1)
            found.append(value)
        return tf.stack(found, axis=1)
