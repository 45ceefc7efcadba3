"""Transformed Examples whose features say which of twelve things a picture shows, and a network to match."""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from memefly.encoders.feature_store import FLIPPED, FeatureStore
from memefly.encoders.standardize import Standardizer
from memefly.networks import NetworkConfig
from memefly.text import RESERVED_TOKENS, Vocabulary
from memefly.training import Examples, TrainingConfig, train

SHAPE, T = (2, 2, 6), 8
ENCODER = "e" * 64
COLOURS, ANIMALS = ("red", "green", "blue"), ("cat", "dog", "frog", "owl")
VOCABULARY = Vocabulary([*RESERVED_TOKENS, "a", "the", "is", *COLOURS, *ANIMALS])
STANDARDIZER = Standardizer(np.zeros(6, np.float32), np.ones(6, np.float32))
NETWORK = NetworkConfig(embedding=16, units=24, attention_units=16, dropout=0.0, tie_weights=False)
CONFIG = TrainingConfig(
    epochs=16, pictures=8, captions_per_picture=3, learning_rate=0.01, patience=16, average=0.0, precision="float32"
)  # the same numbers on every processor


def write(path: Path, pictures: int, captions: int = 3, seed: int = 0, shape=SHAPE, flipped=False, image=None) -> list:
    """Writes `pictures` Examples, their features to the store beside them, and the pictures themselves to a file with
    `.pictures` behind its name; `image(what)` gives their bytes, else their number."""
    store = FeatureStore(path.parent / "store", ENCODER)
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((12, *shape))
    with (
        tf.io.TFRecordWriter(str(path), "GZIP") as writer,
        tf.io.TFRecordWriter(f"{path}.pictures") as pictures_writer,
    ):
        for i in range(pictures):
            what = (i * 7 + seed) % 12
            colour, animal = COLOURS[what % 3], ANIMALS[what // 3]
            texts = [f"a {colour} {animal}", f"the {animal} is {colour}", f"the {colour} {animal}"]
            texts = [texts[k % 3] for k in range(captions)]
            features = (directions[what] + 0.1 * rng.standard_normal(shape)).astype(np.float16)
            ids = [VOCABULARY.encode(t, T) for t in texts]
            tokens = [t for row in ids for t in row + [0] * (T - len(row))]
            shown = image(what) if image else str(i).encode()
            image_id = hashlib.sha256(f"{path.name} {i}".encode()).hexdigest()
            store.put(image_id, features)
            feature = {
                "image_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_id.encode()])),
                "tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=tokens)),
                "captions": tf.train.Feature(bytes_list=tf.train.BytesList(value=[t.encode() for t in texts])),
            }
            if flipped:
                store.put(image_id + FLIPPED, features[:, ::-1])
            picture = feature | {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[shown]))}
            pictures_writer.write(tf.train.Example(features=tf.train.Features(feature=picture)).SerializeToString())
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return [str(path)]


def examples_of(train: list, val: list, shape=SHAPE, max_length=T) -> Examples:
    """Of what `write` wrote to one folder."""
    store = FeatureStore(Path(train[0]).parent / "store", ENCODER)
    pictures = {split: [f"{file}.pictures" for file in files] for split, files in (("train", train), ("val", val))}
    return Examples(train, val, store, shape, max_length, pictures=pictures)


def fit(examples, checkpoints, config=CONFIG, network=NETWORK, **arguments):
    return train(examples, STANDARDIZER, VOCABULARY, network, config, checkpoints, **arguments)
