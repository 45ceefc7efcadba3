"""What training minimises: smoothed cross-entropy with doubly stochastic attention, or the expected reward's negative.

Shapes: P pictures, C captions of a picture, B = P * C captions, T tokens, V words, L positions, R real tokens: those
of `tokens[..., 1:]` that are not padding, in row-major order.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from memefly.text import PAD_ID


class Counts(NamedTuple):
    """What means are taken over: all of a batch, also where several replicas share it."""

    tokens: tf.Tensor  # float32 ()
    captions: tf.Tensor  # float32 ()


def count(tokens: tf.Tensor) -> Counts:
    """Of a batch's tokens int32 (P, C, T): real tokens to predict, and captions that are there."""
    real = tf.not_equal(tokens[..., 1:], PAD_ID)
    return Counts(tf.reduce_sum(tf.cast(real, tf.float32)), tf.reduce_sum(tf.cast(real[..., 0], tf.float32)))


def _targets(tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Targets int32 (R,) and which of (B, T - 1) they are."""
    targets = tf.reshape(tokens[..., 1:], [-1, tf.shape(tokens)[-1] - 1])  # (B, T-1)
    real = tf.not_equal(targets, PAD_ID)
    return tf.boolean_mask(targets, real), real


def _negative_log_likelihood(logits: tf.Tensor, targets: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """-sum_v q_v log p_v of every row, for q = (1 - smoothing) one-hot + smoothing / V: logits float32 (R, V) and
    targets int32 (R,) to (R,).

    The logits are the widest tensor of a step, so the gradient, p - q, is written down: derived op by op, it would
    pass over as much memory about twice as often.
    """
    V = logits.shape[1]

    @tf.custom_gradient
    def of_rows(logits):
        peak = tf.reduce_max(logits, axis=1, keepdims=True)  # (R, 1)
        exponentials = tf.exp(logits - peak)  # (R, V)
        total = tf.reduce_sum(exponentials, axis=1)  # (R,)
        normalizer = tf.math.log(total) + peak[:, 0]
        negative = normalizer - (1 - smoothing) * tf.gather(logits, targets, batch_dims=1)
        if smoothing:
            negative -= smoothing * tf.reduce_mean(logits, axis=1)

        def gradient(upstream):  # (R,)
            change = exponentials * (upstream / total)[:, tf.newaxis]
            if smoothing:
                change -= (smoothing / V * upstream)[:, tf.newaxis]
            where = tf.stack([tf.range(tf.size(targets)), targets], axis=1)
            return tf.tensor_scatter_nd_sub(change, where, (1 - smoothing) * upstream)

        return negative, gradient

    return of_rows(logits)


def caption_loss(
    logits: tf.Tensor,
    alphas: tf.Tensor,
    tokens: tf.Tensor,
    counts: Counts,
    *,
    label_smoothing: float = 0.0,
    attention_penalty: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss and its share of cross-entropy.

    logits float32 (R, V), alphas float32 (B, T - 1, L), tokens int32 (P, C, T). Cross-entropy is a mean over the
    tokens of `counts`, with label smoothing after Szegedy et al. (arXiv 1512.00567). The penalty is that of Show,
    Attend and Tell (1502.03044, eq. 14), a mean over captions and positions: over a caption, every position should
    be looked at about once.
    """
    targets, real = _targets(tokens)
    cross_entropy = tf.reduce_sum(_negative_log_likelihood(logits, targets, label_smoothing)) / counts.tokens
    if not attention_penalty:
        return cross_entropy, cross_entropy
    seen = tf.reduce_sum(alphas * tf.cast(real, tf.float32)[:, :, tf.newaxis], axis=1)  # (B, L)
    there = tf.boolean_mask((1 - seen) ** 2, real[:, 0])  # of captions that are there
    penalty = tf.reduce_sum(tf.reduce_mean(there, axis=1)) / counts.captions
    return cross_entropy + attention_penalty * penalty, cross_entropy


def reward_loss(logits: tf.Tensor, tokens: tf.Tensor, advantages: tf.Tensor, counts: Counts) -> tf.Tensor:
    """REINFORCE (Williams 1992): minus the log-probabilities of the tokens int32 (P, C, T), each caption's weighed
    by its advantage float32 (P, C); a mean over the tokens of `counts`. logits float32 (R, V)."""
    targets, real = _targets(tokens)
    weights = tf.boolean_mask(tf.reshape(advantages, [-1, 1]) * tf.cast(real, tf.float32), real)
    return tf.reduce_sum(weights * _negative_log_likelihood(logits, targets)) / counts.tokens
