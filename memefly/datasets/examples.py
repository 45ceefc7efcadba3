"""Reads Examples as components hand them on.

>>> for feature in read(folder_of_a_split):
...     image_id = feature["image_id"].bytes_list.value[0]
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import tensorflow as tf

from memefly.storage import Place


def read(folder: str | Place) -> Iterator[Mapping[str, tf.train.Feature]]:
    """The features of each Example of a split, in the order of its files."""
    files = sorted(tf.io.gfile.glob(f"{folder}/*"))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    for record in tf.data.TFRecordDataset(files, compression).as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature


def strings(feature: tf.train.Feature) -> list[str]:
    return [value.decode("utf-8") for value in feature.bytes_list.value]


class Pictures:
    """The pictures of Examples in uncompressed TFRecord files, by digest, read where they lie.

    Of all files the first look at any of them reads everything once, to know where they are.
    """

    _LENGTH, _CHECKSUM = struct.Struct("<QI"), 4  # before a record, with a checksum of it; behind one

    def __init__(self, files: Sequence[str]):
        self._files = sorted(files)

    def get(self, image_id: str) -> bytes | None:
        """A picture as it was written, or None where no Example has it."""
        place = self._places.get(image_id)
        if place is None:
            return None
        path, offset, length = place
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            return tf.train.Example.FromString(file.read(length)).features.feature["image"].bytes_list.value[0]

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, int]]:
        found = {}
        for path in self._files:
            with tf.io.gfile.GFile(path, "rb") as file:
                offset = self._LENGTH.size
                while len(head := file.read(self._LENGTH.size)) == self._LENGTH.size:
                    (length, _) = self._LENGTH.unpack(head)
                    feature = tf.train.Example.FromString(file.read(length)).features.feature
                    found[feature["image_id"].bytes_list.value[0].decode()] = (path, offset, length)
                    file.read(self._CHECKSUM)
                    offset += length + self._CHECKSUM + self._LENGTH.size
        return found
