"""Reads Examples as components hand them on.

>>> for feature in read(folder_of_a_split):
...     image_id = feature["image_id"].bytes_list.value[0]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf


def read(folder: str | Path) -> Iterator[Mapping[str, tf.train.Feature]]:
    """The features of each Example of a split, in the order of its files."""
    files = sorted(tf.io.gfile.glob(str(Path(folder) / "*")))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    for record in tf.data.TFRecordDataset(files, compression).as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature


def strings(feature: tf.train.Feature) -> list[str]:
    return [value.decode("utf-8") for value in feature.bytes_list.value]
