"""Greedy and beam search in the graph, batched, for any network behind `memefly.networks`.

    >>> decoded = beam_search(network, features, DecodingConfig(beam=3, max_length=20))
    >>> decoded.tokens[:, 0]                     # the best caption of every picture, int32 (B, T)

A hypothesis is scored by the sum of its log-probabilities over its number of tokens (the `</s>` counted) to the
power `length_penalty`: 0 is the plain sum, which favours short captions, 1 the mean. Finished hypotheses keep their
place in the beam and compete there with the growing ones by that score, so a beam of width 1 is greedy search and a
beam that never prunes is exhaustive search.

Shapes: B pictures, K beams, T tokens, V words, L positions.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from pydantic import BaseModel, ConfigDict, Field

from memefly.networks import Network
from memefly.text import END_ID, PAD_ID, START_ID, UNKNOWN_ID

_NEVER = -1e9  # a log-probability that nothing outweighs, and that adds up without becoming NaN as -inf would


class DecodingConfig(BaseModel):
    """How captions are searched for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beam: int = Field(3, ge=1, le=64, description="hypotheses kept; 1 is greedy")
    max_length: int = Field(24, ge=1, description="tokens of a caption at most, the </s> counted")
    length_penalty: float = Field(0.7, ge=0.0, le=2.0, description="0: sum of log-probabilities; 1: their mean")


class Decoded(NamedTuple):
    """Best first. `tokens` ends in </s> (unless max_length came first) and is padded after it."""

    tokens: tf.Tensor  # int32 (B, K, T)
    scores: tf.Tensor  # float32 (B, K), length-normalised log-probabilities
    alphas: tf.Tensor  # float32 (B, K, T, L), where the network looked for each token; zero after </s>


def beam_search(network: Network, features: tf.Tensor, config: DecodingConfig) -> Decoded:
    """Standardised features float32 (B, h, w, D) to the K best captions found. Graph op."""
    memory, state = network.encode(features)
    B, K, T = tf.shape(features)[0], config.beam, config.max_length
    L = network.step(memory, state, tf.fill([B], START_ID))[2].shape[1]  # of the trace; nothing else uses it
    state = tf.nest.map_structure(lambda x: tf.repeat(x, K, axis=0), state)  # (B*K, …)
    rows = tf.range(B)[:, tf.newaxis] * K  # first flat row of every picture
    banned = tf.reduce_sum(tf.one_hot([PAD_ID, START_ID, UNKNOWN_ID], network.vocabulary_size), axis=0) * _NEVER
    only_pad = (1.0 - tf.one_hot(PAD_ID, network.vocabulary_size)) * _NEVER  # how a finished hypothesis goes on

    # At the start all beams of a picture are the same: only the first may be extended.
    log_probs = tf.tile(tf.constant([[0.0] + [_NEVER] * (K - 1)]), [B, 1])  # (B, K)
    loop = (
        tf.constant(0),
        state,
        tf.fill([B, K], START_ID),  # last token
        log_probs,
        tf.zeros([B, K], tf.int32),  # lengths
        tf.zeros([B, K], tf.bool),  # finished
        tf.fill([B, K, T], PAD_ID),  # tokens
        tf.zeros([B, K, T, L]),  # alphas
    )

    def unfinished(t, state, last, log_probs, lengths, finished, tokens, alphas):
        return (t < T) & ~tf.reduce_all(finished)

    def extend(t, state, last, log_probs, lengths, finished, tokens, alphas):
        logits, state, alpha = network.step(memory, state, tf.reshape(last, [-1]))
        step = tf.reshape(tf.nn.log_softmax(logits) + banned, [B, K, -1])  # (B, K, V)
        step = tf.where(finished[:, :, tf.newaxis], only_pad, step)
        totals = log_probs[:, :, tf.newaxis] + step
        longer = lengths + tf.cast(~finished, tf.int32)  # (B, K)
        ranks = totals / _norm(longer, config.length_penalty)[:, :, tf.newaxis]
        V = network.vocabulary_size
        _, chosen = tf.math.top_k(tf.reshape(ranks, [B, K * V]), K)  # (B, K)
        parent, token = chosen // V, chosen % V
        flat = tf.reshape(rows + parent, [-1])  # (B*K,)
        state = tf.nest.map_structure(lambda x: tf.gather(x, flat), state)
        log_probs = tf.gather(tf.reshape(totals, [B, K * V]), chosen, batch_dims=1)
        was_finished = tf.gather(finished, parent, batch_dims=1)
        alpha = tf.gather(tf.reshape(alpha, [B, K, L]), parent, batch_dims=1)
        alpha = tf.where(was_finished[:, :, tf.newaxis], 0.0, alpha)
        here = tf.range(T) == t  # (T,)
        tokens = tf.where(here, token[:, :, tf.newaxis], tf.gather(tokens, parent, batch_dims=1))
        alphas = tf.gather(alphas, parent, batch_dims=1)
        alphas = tf.where(here[:, tf.newaxis], alpha[:, :, tf.newaxis], alphas)
        lengths = tf.gather(longer, parent, batch_dims=1)
        return t + 1, state, token, log_probs, lengths, was_finished | (token == END_ID), tokens, alphas

    # A finished hypothesis' last token is padding; feeding it on is harmless, what follows is only padding again.
    _, _, _, log_probs, lengths, _, tokens, alphas = tf.while_loop(
        unfinished, extend, loop, maximum_iterations=T, parallel_iterations=1
    )
    scores = log_probs / _norm(lengths, config.length_penalty)
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    return Decoded(*(tf.gather(x, order, batch_dims=1) for x in (tokens, scores, alphas)))


def _norm(lengths: tf.Tensor, penalty: float) -> tf.Tensor:
    return tf.cast(tf.maximum(lengths, 1), tf.float32) ** penalty


def greedy_search(network: Network, features: tf.Tensor, max_length: int) -> tf.Tensor:
    """The likeliest word at every step: features float32 (B, h, w, D) to tokens int32 (B, T), padded after </s>.

    What `beam_search` with a beam of 1 returns, at a fraction of its work.
    """
    memory, state = network.encode(features)
    B = tf.shape(features)[0]
    banned = tf.reduce_sum(tf.one_hot([PAD_ID, START_ID, UNKNOWN_ID], network.vocabulary_size), axis=0) * _NEVER

    def extend(t, state, last, finished, tokens):
        logits, state, _ = network.step(memory, state, last)
        token = tf.argmax(logits + banned, axis=1, output_type=tf.int32)  # (B,)
        token = tf.where(finished, PAD_ID, token)
        tokens = tf.where(tf.range(max_length) == t, token[:, tf.newaxis], tokens)
        return t + 1, state, token, finished | (token == END_ID), tokens

    loop = (tf.constant(0), state, tf.fill([B], START_ID), tf.zeros([B], tf.bool), tf.fill([B, max_length], PAD_ID))
    *_, tokens = tf.while_loop(
        lambda t, state, last, finished, tokens: (t < max_length) & ~tf.reduce_all(finished), extend, loop
    )
    return tokens
