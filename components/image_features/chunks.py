"""Examples in chunks: what one worker wrote as a whole, many may read.

    >>> pipeline | ReadExamples({"train": folder, "val": folder})     # (split, serialized Example)

Beam's own source reads a TFRecord file from end to end in one place, and an engine in memory, or with one slot, writes
one file a split: then one worker would encode all pictures, however many there are. Here a file is cut where its
records begin; what is shuffled is where the chunks are, and no picture. Nor are pictures of several splits flattened,
which has a runner in memory hold all of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import apache_beam as beam
import tensorflow as tf
from tensorflow.python.lib.io import tf_record  # its reader of any place is nowhere else

RECORDS = 256  # of a chunk: ten seconds of InceptionV3 on one core
_HEAD, _TAIL = struct.Struct("<QI"), 4  # bytes of a TFRecord around its data: length and checksums
Chunk = tuple[str, str, int, int]  # split, file, where its first record begins, number of records


class ReadExamples(beam.PTransform):
    """The Examples of splits, from uncompressed TFRecord files in a folder each, checksums verified; what is damaged
    raises `tf.errors.DataLossError`."""

    def __init__(self, folders: Mapping[str, str]):
        super().__init__()
        self._folders = dict(folders)

    def expand(self, begin):
        files = [
            (split, path) for split, folder in self._folders.items() for path in sorted(tf.io.gfile.glob(f"{folder}/*"))
        ]
        return (
            begin
            | "Files" >> beam.Create(files)
            | "Chunks" >> beam.FlatMap(chunks)
            | "Spread" >> beam.Reshuffle()
            | "Records" >> beam.FlatMap(_records)
        )


def chunks(element: tuple[str, str]) -> Iterator[Chunk]:
    """Of a file, from the lengths of its records alone."""
    split, path = element
    with tf.io.gfile.GFile(path, "rb") as file:
        size = file.size()
        start = offset = records = 0
        while offset < size:
            file.seek(offset)
            (length, _) = _HEAD.unpack(file.read(_HEAD.size).ljust(_HEAD.size, b"\0"))
            offset += _HEAD.size + length + _TAIL
            records += 1
            if records == RECORDS:
                yield split, path, start, records
                start, records = offset, 0
    if records:
        yield split, path, start, records


def _records(chunk: Chunk) -> Iterator[tuple[str, bytes]]:
    split, path, offset, records = chunk
    reader = tf_record.tf_record_random_reader(path)
    try:
        for _ in range(records):
            record, offset = reader.read(offset)
            yield split, record
    except IndexError:  # which it raises at the end
        raise tf.errors.DataLossError(
            None, None, f"{path} ends in the middle of a record, at byte {offset}: it was cut"
        ) from None
    finally:
        reader.close()
