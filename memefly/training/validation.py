"""How good a network is while it is trained: `val` decoded freely, greedily, and scored; and how well it foresees what
people wrote.

>>> metrics, samples = validate(decoder, examples, vocabulary, pictures=500)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.errors import TrainingError
from memefly.likelihood import Likelihood
from memefly.metrics import score
from memefly.metrics.information import Written, bits_a_character
from memefly.networks import Network
from memefly.text import Vocabulary
from memefly.training.inputs import Examples, validation

_SAMPLES, _BATCH = 8, 64
_FORESEEN = 64  # captions of a picture


class Shown(NamedTuple):
    """What a network is given of a picture: a key of an Example, and how a batch of it comes to be features."""

    source: str
    features_of: Callable[[tf.Tensor], tf.Tensor]
    signature: tf.TensorSpec


def greedy_decoder(network: Network, features_of: Callable, signature: tf.TensorSpec, max_length: int):
    """A graph from a batch of what `features_of` takes to the greedy captions' tokens int32 (B, T)."""
    config = DecodingConfig(beam=1, max_length=max_length, block_ngram=0, dangling=True, min_length=0)
    return tf.function(
        lambda shown: decode(network, features_of(shown), config).tokens[:, 0],
        input_signature=[signature],
        autograph=False,
    )


def validate(
    decoder: Callable,
    examples: Examples,
    vocabulary: Vocabulary,
    pictures: int,
    source: str = "features",
    likelihood: Likelihood | None = None,
) -> tuple[dict, list[dict]]:
    """Metrics over the first `pictures` of `val`, and the first eight with picture and references. With `likelihood`
    `bits_a_character` is among them, of a picture's first 64 captions.

    Raises `TrainingError` where `val` is empty.
    """
    references: list[list[str]] = []
    hypotheses: list[str] = []
    samples: list[dict] = []
    foreseen: list[float] = []
    written: list[Written] = []
    coming = validation(examples, pictures, source)
    while batch := list(itertools.islice(coming, _BATCH)):
        for one, ids in zip(batch, decoder(np.stack([one.shown for one in batch])).numpy()):
            hypotheses.append(vocabulary.decode(ids))
            references.append(one.captions)
            if likelihood:
                counted = [likelihood.written(caption) for caption in one.captions[:_FORESEEN]]
                foreseen += likelihood.log_probs(one.shown, counted).tolist()
                written += counted
            if len(samples) < _SAMPLES:
                image = examples.images("val", [one.image_id])[0] if examples.pictures else None
                samples.append({"image": image, "caption": hypotheses[-1], "references": one.captions})
    if not hypotheses:
        raise TrainingError("the val split has no pictures to stop on; check data.splits and the data set's own splits")
    bits = {"bits_a_character": bits_a_character(foreseen, written)} if likelihood else {}
    return score(references, hypotheses) | bits, samples
