"""Which of several candidates are said: by what the picture adds, by repetition, and so that they differ.

    >>> order = best(log_probs, unseen, tokens, norm, mmi=0.3, repetition=1.0, difference=0.5)   # int32 (B, K)

A candidate's rank is its log-probability given the picture less a share `mmi` of that without one, over the norm of its
length: maximum mutual information with an anti-language model (Li et al., arXiv 1510.03055), against what could be said
of anything. `repetition` is what it costs to say each pair of tokens twice. They are taken one by one, each time the
best, less `difference` times the share of its tokens that one taken before has too: maximal marginal relevance
(Carbonell and Goldstein, SIGIR 1998). The same caption comes twice only where there is no other. So do captions whose
number of text boxes fewer than three tenths of the candidates have: what the template has is what most of them agree on
(self-consistency, Wang et al., arXiv 2203.11171).

Shapes: B pictures, K candidates, T tokens, V words.
"""

from __future__ import annotations

import tensorflow as tf

from memefly.networks import Network
from memefly.text import END_ID, PAD_ID, START_ID

NOTHING = -1e6  # log-probabilities below it are of places that hold no candidate
_SAME = 1e6  # what a caption costs that was taken already
_ODD = 1e4  # and one of so many boxes as fewer of the candidates have than
_AGREE = 0.3  # three of eight; one of three


def without_picture(network: Network, features: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Log-probabilities float32 (B, K) of tokens int32 (B, K, T) where no picture is shown, zero in the place of
    standardised features (B, h, w, D): see `training.without_picture`."""
    (B, K, _), T = tf.unstack(tf.shape(tokens)), tokens.shape[2]
    start = tf.fill([1, B * K, 1], START_ID)
    said = tf.concat([start, tf.reshape(tokens, [1, B * K, T])], axis=2)
    logits, _ = network.teacher_forced(tf.zeros_like(features[:1]), said, fed=None, training=False, noise=None)
    real = tf.not_equal(tf.reshape(tokens, [B * K, T]), PAD_ID)
    told = logits if network.normalized else tf.nn.log_softmax(logits)
    of_each = tf.gather(told, tf.boolean_mask(said[0, :, 1:], real), batch_dims=1)
    summed = tf.reduce_sum(tf.scatter_nd(tf.where(real), of_each, tf.shape(real, tf.int64)), axis=1)
    return tf.reshape(summed, [B, K])


def best(
    log_probs: tf.Tensor,
    unseen: tf.Tensor,
    tokens: tf.Tensor,
    norm: tf.Tensor,
    *,
    vocabulary_size: int,
    mmi: tf.Tensor,
    repetition: tf.Tensor,
    difference: tf.Tensor,
    break_id: int | None = None,
) -> tf.Tensor:
    """All candidates in the order in which they are taken, int32 (B, K).

    `log_probs` float32 (B, K), far below -1e6 where there is no candidate; `unseen` float32 (B, K), the same without
    the picture; `tokens` int32 (B, K, T); `norm` float32 (B, K); the weights float32 () or (B, 1); `break_id`: what
    stands between two text boxes, where captions have several.
    """
    K = tf.shape(log_probs)[1]
    ranks = (log_probs - mmi * unseen) / norm - repetition * repeated(tokens)
    if break_id is not None:
        ranks -= _ODD * tf.cast(odd_boxes(tokens, log_probs > NOTHING, break_id), tf.float32)
    alike = overlap(tokens, vocabulary_size)  # (B, K, K)
    alike = difference[..., tf.newaxis] * alike + _SAME * tf.cast(_same(tokens), tf.float32)
    nothing = tf.zeros_like(ranks)

    def take(k, order, taken, like):
        one = tf.argmax(ranks - like + taken * ranks.dtype.min / 2, axis=1, output_type=tf.int32)  # (B,)
        order = tf.where(tf.equal(tf.range(K), k), one[:, tf.newaxis], order)
        taken = tf.maximum(taken, tf.one_hot(one, K))
        like = tf.maximum(like, tf.gather(alike, one, batch_dims=1))
        return k + 1, order, taken, like

    loop = (tf.constant(0), tf.zeros(tf.shape(ranks), tf.int32), nothing, nothing)
    return tf.while_loop(lambda k, *_: k < K, take, loop, parallel_iterations=1)[1]


def repeated(tokens: tf.Tensor) -> tf.Tensor:
    """The share of pairs of tokens that were said before: int32 (B, K, T) to float32 (B, K), seq-rep-2 (Welleck et al.,
    arXiv 1908.04319). What follows </s> is padding."""
    first, second = tokens[:, :, :-1], tokens[:, :, 1:]
    there = (second != PAD_ID) & (second != END_ID)  # (B, K, T - 1)
    same = _equal_pairs(first, 2) & _equal_pairs(second, 2)  # (B, K, T - 1, T - 1)
    places = tf.range(tf.shape(first)[2])
    before = places[:, tf.newaxis] > places
    again = there & tf.reduce_any(same & before, axis=3)
    pairs = tf.reduce_sum(tf.cast(there, tf.float32), axis=2)
    return tf.reduce_sum(tf.cast(again, tf.float32), axis=2) / tf.maximum(pairs, 1.0)


def overlap(tokens: tf.Tensor, vocabulary_size: int) -> tf.Tensor:
    """How alike candidates are: tokens that both have of those that one has (Jaccard), float32 (B, K, K)."""
    B, K, T = tf.unstack(tf.shape(tokens))
    rows = tf.repeat(tf.range(B * K), T)
    spoken = tf.where(tokens == END_ID, PAD_ID, tokens)
    index = tf.stack([rows, tf.reshape(spoken, [-1])], axis=1)
    counts = tf.scatter_nd(index, tf.ones([B * K * T]), [B * K, vocabulary_size])
    there = tf.reshape(tf.minimum(counts, 1.0), [B, K, vocabulary_size])[:, :, PAD_ID + 1 :]
    both = tf.linalg.matmul(there, there, transpose_b=True)  # (B, K, K)
    size = tf.reduce_sum(there, axis=2)
    either = tf.expand_dims(size, 2) + tf.expand_dims(size, 1) - both
    return both / tf.maximum(either, 1.0)


def odd_boxes(tokens: tf.Tensor, there: tf.Tensor, break_id: int) -> tf.Tensor:
    """Whether few others have as many boxes: int32 (B, K, T), and bool (B, K) where a candidate is, to bool (B, K)."""
    boxes = tf.reduce_sum(tf.cast(tf.equal(tokens, break_id), tf.int32), axis=2)  # (B, K), less one
    agree = tf.cast(_equal_pairs(boxes, 1) & there[:, tf.newaxis], tf.float32)  # (B, K, K)
    all_of_them = tf.reduce_sum(tf.cast(there, tf.float32), axis=1, keepdims=True)
    return tf.reduce_sum(agree, axis=2) < _AGREE * all_of_them


def _same(tokens: tf.Tensor) -> tf.Tensor:
    """Whether two candidates are one caption: bool (B, K, K)."""
    return tf.reduce_all(_equal_pairs(tokens, 1), axis=3)


def _equal_pairs(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Each along an axis beside each other: whether they are equal, with that axis twice."""
    return tf.equal(tf.expand_dims(x, axis + 1), tf.expand_dims(x, axis))
