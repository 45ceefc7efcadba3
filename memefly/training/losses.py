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
    # sum_v q_v log p_v for q = (1 - s) one-hot + s / V, written without any tensor as wide as the logits but one.
    normalizer = tf.reduce_logsumexp(logits, axis=1)  # (R,)
    right = tf.gather(logits, targets, batch_dims=1)
    negative = normalizer - (1 - label_smoothing) * right
    if label_smoothing:
        negative -= label_smoothing * tf.reduce_mean(logits, axis=1)
    cross_entropy = tf.reduce_sum(negative) / counts.tokens
    if not attention_penalty:
        return cross_entropy, cross_entropy
    seen = tf.reduce_sum(alphas * tf.cast(real, tf.float32)[:, :, tf.newaxis], axis=1)  # (B, L)
    there = tf.boolean_mask((1 - seen) ** 2, real[:, 0])  # of captions that are there
    penalty = tf.reduce_sum(tf.reduce_mean(there, axis=1)) / counts.captions
    return cross_entropy + attention_penalty * penalty, cross_entropy


def reward_loss(logits: tf.Tensor, tokens: tf.Tensor, advantages: tf.Tensor, counts: Counts) -> tf.Tensor:
    """REINFORCE (Williams 1992): minus the log-probabilities of sampled tokens int32 (P, C, T), each caption's weighed
    by its advantage float32 (P, C); a mean over the tokens of `counts`. logits float32 (R, V)."""
    targets, real = _targets(tokens)
    log_probs = tf.gather(logits, targets, batch_dims=1) - tf.reduce_logsumexp(logits, axis=1)  # (R,)
    weights = tf.boolean_mask(tf.reshape(advantages, [-1, 1]) * tf.cast(real, tf.float32), real)
    return -tf.reduce_sum(weights * log_probs) / counts.tokens
