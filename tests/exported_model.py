"""A small captioner with random weights, exported: what the tests of serving share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memefly import encoders, networks, ngrams, text
from memefly.decoding_config import DecodingConfig
from memefly.encoders import EncoderConfig
from memefly.encoders.standardize import Standardizer
from memefly.exported.captioner import Captioner, export
from memefly.exported.parts import blocked_by
from memefly.networks import NetworkConfig
from memefly.networks.interpolated import Interpolated

WORDS = [
    *text.RESERVED_TOKENS,
    *("one", "does", "not", "simply", "walk", "into", "the", "office", "brace", "yourselves", "grumpy", "cat"),
]
DECODING = DecodingConfig(beam=3, max_length=7)


SAID = ["one does not simply walk", "brace yourselves the cat", "one does not walk into the office", "grumpy cat"]


def make(
    folder: Path,
    encoder_path: Path,
    seed: int = 1,
    safety: dict | None = None,
    ngram: int = 0,
    decoding: DecodingConfig = DECODING,
) -> Captioner:
    """`folder` gets the vocabulary. With `ngram` an n-gram model of what is `SAID` has half a say."""
    vocabulary = folder / "captions"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    encoder = encoders.load(EncoderConfig(weights=str(encoder_path), precision="float32"))
    config = NetworkConfig(embedding=8, units=16, attention_units=8, dropout=0.0, tie_weights=False)
    network = networks.build(config, len(WORDS), encoder.feature_shape, seed=seed)
    network.words.kernel.assign(8 * network.words.kernel)
    if ngram:
        network = Interpolated(network, ngram)
        network.ngrams.fill(ngrams.count(map(text.Vocabulary(WORDS).encode, SAID), len(WORDS), ngram))
        network.trust.assign(0.5 * network.trust)
    rng = np.random.default_rng(0)
    mean, std = rng.uniform(0, 0.1, 32).astype(np.float32), rng.uniform(0.05, 0.2, 32).astype(np.float32)
    blocked = blocked_by(safety, text.Vocabulary(WORDS))
    return Captioner(encoder.graph, Standardizer(mean, std), network, vocabulary, decoding, blocked)


def write(captioner: Captioner, folder: Path, safety: dict | None = None) -> Path:
    network, ngram = captioner.network, 0
    if isinstance(network, Interpolated):
        network, ngram = network.network, network.ngrams.order
    manifest = {
        "config": {
            "splits": {"train": 8, "val": 1, "eval": 1},
            "decoding": DECODING.model_dump(),
            "network": network.config.model_dump() | {"ngram": ngram},
            "safety": safety or {},
        },
        "encoder": {"feature_shape": captioner.feature_shape, "image_size": captioner.image_size},
        "metrics": {},
        "blessed": True,
    }
    export(captioner, folder, manifest)
    return folder
