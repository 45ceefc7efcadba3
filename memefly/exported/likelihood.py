"""How likely an exported model takes captions.

>>> likelihood_of("root/serving/captioner").log_probs(features, written)
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from memefly.exported.manifest import newest_version, read_manifest
from memefly.exported.parts import load_parts
from memefly.likelihood import Likelihood
from memefly.spelling import Spelling


def likelihood_of(folder: str | Path) -> Likelihood:
    """Of the newest version in a folder, or of the version that it is; of a picture are taken its features float16
    (h, w, D). Raises `ModelError`."""
    folder = newest_version(folder)
    manifest, parts = read_manifest(folder), load_parts(folder)
    text = manifest["config"].get("text", {})
    spelling = Spelling(**{name: text[name] for name in Spelling.model_fields if name in text})
    signature = tf.TensorSpec([None, *manifest["encoder"]["feature_shape"]], tf.float16)
    return Likelihood(parts.network, parts.standardizer, signature, parts.vocabulary, spelling)
