"""How fast features reach training, and what a picture takes of the disk: read by key from the store, against Examples.

    python -m benchmarks.reading [--pictures 1024] [--epochs 4]

The peer is how Transform handed features on before they stayed in the store, and how TFX's own examples do: gzipped
TFRecords of Examples with features, picture and token ids in one, streamed through a buffer of 512. Ours is
`memefly.training.inputs`: token ids from Transform's Examples, held in memory, features from the store, checksums
verified. Both give batches of 13 pictures with 5 captions each; nothing is trained. Features are what a ReLU leaves of
normal numbers, float16 (8, 8, 2048), pictures 20 KiB of noise, about what a JPEG of 299 x 299 has. Epochs of both take
turns; the first of ours has the token ids read, too. Files are in the system's cache for both. Beside it, the smaller
forms of features: `encoder.storage=uint8`, and 256 of the channels, as a projection leaves them.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from memefly import provenance
from memefly.encoders.feature_store import FeatureStore
from memefly.text import END_ID, RESERVED_TOKENS, START_ID
from memefly.training.inputs import Examples, batches

SHAPE, LENGTH, CAPTIONS, PICTURES = (8, 8, 2048), 26, 5, 13
FORMS: dict[str, tuple[int, Literal["float16", "uint8"]]] = {  # channels, and what they are stored in
    "ours": (2048, "float16"),
    "ours in eight bits": (2048, "uint8"),
    "ours of 256 channels": (256, "float16"),
    "ours of 256 channels in eight bits": (256, "uint8"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fat, thin, stores = write(Path(folder), arguments.pictures)
        sides: dict[str, Callable] = {"peer": lambda epoch: streamed(fat, epoch)}
        for name, store in stores.items():
            examples = Examples([str(thin)], [str(thin)], store, (*SHAPE[:2], FORMS[name][0]), LENGTH)
            sides[name] = functools.partial(read, examples)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for epoch in range(arguments.epochs):
            for name, make in sides.items():
                began = time.perf_counter()
                seen = sum(int(shown.shape[0]) for shown, *_ in make(epoch))
                seconds[name].append(time.perf_counter() - began)
                assert seen == arguments.pictures, (name, seen)
        per_picture = {
            "first epoch, ms": {name: 1000 * times[0] / arguments.pictures for name, times in seconds.items()},
            "later epochs, ms": {
                name: 1000 * statistics.median(times[1:]) / arguments.pictures for name, times in seconds.items()
            },
            "behind ImageFeatures, bytes": {
                name: path.stat().st_size / arguments.pictures for name, path in (("peer", fat), ("ours", thin))
            },
        }
        told = {
            "name": "reading",
            "commit": provenance.git_commit(),
            "pictures": arguments.pictures,
            "store, bytes a picture": {name: store.size() / arguments.pictures for name, store in stores.items()},
            "a picture": per_picture,
            "ratio": {
                name: {
                    "first epoch": seconds["peer"][0] / seconds[name][0],
                    "later epochs": statistics.median(seconds["peer"][1:]) / statistics.median(seconds[name][1:]),
                }
                for name in FORMS
            },
        }
    print(json.dumps(told, indent=2))


def read(examples: Examples, epoch: int) -> Iterator:
    return batches(examples, seed=0, pictures=PICTURES, captions=CAPTIONS, groups=1, epoch=epoch, bucket=2)


def write(folder: Path, pictures: int) -> tuple[Path, Path, dict[str, FeatureStore]]:
    """The same pictures as either side has them: fat Examples; thin ones, and a store of each form."""
    rng = np.random.default_rng(0)
    stores = {name: FeatureStore(folder / name, "b" * 64, form) for name, (_, form) in FORMS.items()}
    fat, thin = folder / "fat.gz", folder / "thin.gz"

    def of(*values: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def write_to(writer: tf.io.TFRecordWriter, feature: dict[str, tf.train.Feature]) -> None:
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())

    with tf.io.TFRecordWriter(str(fat), "GZIP") as fats, tf.io.TFRecordWriter(str(thin), "GZIP") as thins:
        for _ in range(pictures):
            features = np.maximum(rng.standard_normal(SHAPE, np.float32), 0).astype(np.float16)
            image_id = rng.bytes(32).hex()
            tokens = np.zeros((CAPTIONS, LENGTH), np.int64)
            for row in tokens:
                n = int(np.clip(rng.normal(11, 3.7), 3, LENGTH - 2))
                row[: n + 2] = [START_ID, *rng.integers(len(RESERVED_TOKENS), 5000, n), END_ID]
            light = {
                "image_id": of(image_id.encode()),
                "captions": of(*(b"a caption of some eleven words, as people write them here" for _ in tokens)),
                "tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=tokens.ravel())),
            }
            write_to(thins, light)
            write_to(fats, {**light, "features": of(features.tobytes()), "image": of(rng.bytes(20 << 10))})
            for name, store in stores.items():
                store.put(image_id, features[..., : FORMS[name][0]])
    return fat, thin, stores


def streamed(path: Path, epoch: int) -> tf.data.Dataset:
    spec = {"features": tf.io.FixedLenFeature([], tf.string), "tokens": tf.io.RaggedFeature(tf.int64)}
    spec["image"] = tf.io.FixedLenFeature([], tf.string)

    def parse(serialized):
        one = tf.io.parse_single_example(serialized, spec)
        features = tf.reshape(tf.io.decode_raw(one["features"], tf.float16), SHAPE)
        return features, tf.reshape(tf.cast(one["tokens"], tf.int32), [CAPTIONS, LENGTH])

    records = tf.data.TFRecordDataset([str(path)], "GZIP").map(parse, num_parallel_calls=2, deterministic=True)
    return records.shuffle(512, seed=epoch, reshuffle_each_iteration=False).batch(PICTURES).prefetch(2)


if __name__ == "__main__":
    main()
