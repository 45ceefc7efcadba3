"""Transformed Examples whose features say which of twelve things a picture shows, and a network to match."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from memefly.encoders.standardize import Standardizer
from memefly.networks import NetworkConfig
from memefly.text import RESERVED_TOKENS, Vocabulary
from memefly.training import TrainingConfig, train

SHAPE, T = (2, 2, 6), 8
COLOURS, ANIMALS = ("red", "green", "blue"), ("cat", "dog", "frog", "owl")
VOCABULARY = Vocabulary([*RESERVED_TOKENS, "a", "the", "is", *COLOURS, *ANIMALS])
STANDARDIZER = Standardizer(np.zeros(6, np.float32), np.ones(6, np.float32))
NETWORK = NetworkConfig(embedding=16, units=24, attention_units=16, dropout=0.0, tie_weights=False)
CONFIG = TrainingConfig(
    epochs=16, pictures=8, captions_per_picture=3, learning_rate=0.01, patience=16, average=0.0, precision="float32"
)  # the same numbers on every processor


def write(path: Path, pictures: int, captions: int = 3, seed: int = 0, shape=SHAPE, flipped=False, image=None) -> list:
    """Writes `pictures` Examples; `image(what)` gives their bytes, else their number."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((12, *shape))
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for i in range(pictures):
            what = (i * 7 + seed) % 12
            colour, animal = COLOURS[what % 3], ANIMALS[what // 3]
            texts = [f"a {colour} {animal}", f"the {animal} is {colour}", f"the {colour} {animal}"]
            texts = [texts[k % 3] for k in range(captions)]
            features = (directions[what] + 0.1 * rng.standard_normal(shape)).astype(np.float16)
            ids = [VOCABULARY.encode(t, T) for t in texts]
            tokens = [t for row in ids for t in row + [0] * (T - len(row))]
            shown = image(what) if image else str(i).encode()
            feature = {
                "features": tf.train.Feature(bytes_list=tf.train.BytesList(value=[features.tobytes()])),
                "tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=tokens)),
                "captions": tf.train.Feature(bytes_list=tf.train.BytesList(value=[t.encode() for t in texts])),
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[shown])),
            }
            if flipped:
                turned = features[:, ::-1].tobytes()
                feature["features_flipped"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[turned]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return [str(path)]


def fit(examples, checkpoints, config=CONFIG, network=NETWORK, **arguments):
    return train(examples, STANDARDIZER, VOCABULARY, network, config, checkpoints, **arguments)
