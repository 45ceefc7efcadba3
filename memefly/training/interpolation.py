"""The n-gram model that goes with a trained network: counted on train, trusted as far as val says.

>>> network = interpolate(network, 5, examples, shown, vocabulary, pictures=500)

Shapes: n captions of a picture, T tokens, R real ones, V words.
"""

from __future__ import annotations

import logging

import numpy as np
import tensorflow as tf

from memefly import ngrams
from memefly.errors import TrainingError
from memefly.networks import Network
from memefly.networks.interpolated import Interpolated
from memefly.rules import break_of
from memefly.text import END_ID, PAD_ID, Vocabulary
from memefly.training.inputs import Examples, captions_of_train, validation
from memefly.training.validation import Shown

log = logging.getLogger(__name__)

_CAPTIONS = 64  # of a picture of val


def interpolate(
    network: Network, order: int, examples: Examples, shown: Shown, vocabulary: Vocabulary, pictures: int
) -> Interpolated:
    """`pictures` of `val` at most say how far the network is trusted. Raises `TrainingError` where `val` is empty."""
    whole, between_boxes = Interpolated(network, order), break_of(vocabulary)
    whole.ngrams.fill(ngrams.count(captions_of_train(examples), len(vocabulary), order))
    whole.leave([END_ID] if between_boxes is None else [END_ID, between_boxes])

    @tf.function(input_signature=[shown.signature, tf.TensorSpec([1, None, None], tf.int32)], autograph=False)
    def judge(picture, tokens):
        """Probabilities float32 (R,) of the words that were written, by both, and kinds int32 (R,)."""
        features = shown.features_of(picture)
        logits, _ = network.teacher_forced(features, tokens, fed=None, training=False, noise=None)  # (R, V)
        own, counted, kinds = whole.both(logits, whole.histories(tokens, tokens))
        targets = tf.boolean_mask(tokens[..., 1:], tf.not_equal(tokens[..., 1:], PAD_ID))
        return *(tf.gather(p, targets, batch_dims=1) for p in (own, counted)), kinds

    found = [
        judge(np.stack([one.shown]), one.tokens[np.newaxis, :_CAPTIONS])
        for one in validation(examples, pictures, shown.source)
    ]
    if not found:
        raise TrainingError(
            "the val split has no pictures to judge by; check data.splits and the data set's own splits"
        )
    by_network, by_ngrams, kinds = (np.concatenate([part.numpy() for part in parts]) for parts in zip(*found))
    whole.fit(by_network, by_ngrams, kinds)
    size, trusted = int(tf.size(whole.ngrams.words)), float(np.mean(whole.trust.numpy()[kinds]))
    log.info("n-grams of %d tokens: %d of them; the network counts for %.2f", order, size, trusted)
    return whole
