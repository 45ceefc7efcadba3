"""What an exported model is made of, behind its encoder: for what no signature offers.

>>> load_parts("root/serving/captioner").network.config.units
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from memefly import networks, text
from memefly.encoders.standardize import Standardizer
from memefly.errors import ModelError
from memefly.exported.manifest import MANIFEST, newest_version, read_manifest
from memefly.networks import Network, NetworkConfig
from memefly.safety import Safety, SafetyConfig
from memefly.safety.constraint import Blocked, constrain
from memefly.safety.piecewise import constrain_pieces
from memefly.storage import Place

_RESERVED = len(text.RESERVED_TOKENS)


@dataclass(frozen=True)
class Parts:
    """What an exported model is made of, behind its encoder: for measurements that no signature offers."""

    network: Network
    standardizer: Standardizer
    vocabulary: text.Vocabulary
    blocked: Blocked | None  # what it may not say


def load_parts(folder: str | Place) -> Parts:
    """The network, standardizer and vocabulary of an exported model, with its weights. Raises `ModelError`."""
    folder = newest_version(folder)
    manifest = read_manifest(folder)
    vocabulary = text.Vocabulary.load(next((folder / "assets").iterdir()))
    shape = tuple(manifest["encoder"]["feature_shape"])
    network = networks.build(NetworkConfig(**manifest["config"]["network"]), len(vocabulary), shape, seed=0)
    standardizer = Standardizer(np.zeros(shape[-1], np.float32), np.ones(shape[-1], np.float32))
    checkpoint = tf.train.Checkpoint(network=network, standardizer=standardizer)
    try:
        status = checkpoint.read(str(folder / "variables" / "variables"))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, tf.errors.OpError) as error:
        raise ModelError(f"the weights in {folder} are not those of its {MANIFEST}: {error}") from error
    return Parts(network, standardizer, vocabulary, blocked_by(manifest["config"].get("safety"), vocabulary))


def blocked_by(safety: dict | None, vocabulary: text.Vocabulary) -> Blocked | None:
    """What a model of this vocabulary may not say, by the section `safety` of its configuration; None where it may say
    anything."""
    config = SafetyConfig(**(safety or {}))
    if not config.is_on:
        return None
    if vocabulary.has_pieces:  # a piece is no word, and is judged with those around it
        return constrain_pieces(vocabulary.words, config.lists())
    blocked = constrain(vocabulary.words, config.lists())
    # A word can be an address or a number too; a scorer judges texts, and no words.
    judge = Safety(config.model_copy(update={"scorer": ""})).judge
    return blocked._replace(words=[i for i, word in enumerate(vocabulary.words) if i >= _RESERVED and judge(word)])
