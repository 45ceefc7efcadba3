"""The pieces that the words of `train` are cut into, learned where Transform analyses.

>>> path = vocabulary(words, Spec(4000, 2, reserved), "captions")    # a file as `tft.vocabulary` writes it
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from apache_beam.io.filesystems import FileSystems
from tensorflow_transform import common_types
from tensorflow_transform.beam.experimental import PTransformAnalyzer

from memefly import subwords


@dataclass(frozen=True)
class Spec:
    """How many there are to be, the reserved tokens counted, and how often each occurs."""

    size: int
    min_count: int
    reserved: Sequence[str]


def vocabulary(words: tf.RaggedTensor, spec: Spec, filename: str) -> common_types.TemporaryAnalyzerOutputType:
    """Path of a file of pieces, one a line, the reserved ones first: what `tft.vocabulary` gives, in the way that
    `tft.apply_vocabulary` takes it. Graph op of a `preprocessing_fn`."""
    (path,) = tft.experimental.ptransform_analyzer(
        inputs=[words.flat_values],
        ptransform=_Learn(spec, filename),
        output_dtypes=[tf.string],
        output_shapes=[[]],
        output_asset_default_values=["\n".join(spec.reserved).encode()],
    )
    return path


def apply(words: tf.RaggedTensor, path: common_types.TemporaryAnalyzerOutputType, unknown: int) -> tf.RaggedTensor:
    """Ids of the pieces of words: ragged string (N, words) to ragged int64 (N, pieces)."""

    def lookup(words, path):
        # A table of a file that is there already is made once, and not in every call of the graph.
        with contextlib.nullcontext() if tf.is_symbolic_tensor(path) else tf.init_scope():
            lines = tf.lookup.TextFileInitializer(
                path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            )
            table = tf.lookup.StaticHashTable(lines, unknown)
        return subwords.cut_graph(words, table.lookup, unknown), table.size()

    return tft.apply_vocabulary(words, path, default_value=unknown, lookup_fn=lookup)


class _Learn(PTransformAnalyzer):
    """Batches of words to the path of the file."""

    def __init__(self, spec: Spec, filename: str):
        super().__init__()
        self._spec, self._filename = spec, filename

    def expand(self, batches):
        path = os.path.join(self.base_temp_dir, self._filename)
        return (
            batches
            | "Counts" >> beam.FlatMap(_counts)
            | "OfEachWord" >> beam.CombinePerKey(sum)
            | "AllWords" >> beam.combiners.ToDict()
            | "Learn" >> beam.Map(_write, spec=self._spec, path=path)
        )


def _counts(batch: Sequence[np.ndarray]) -> Iterable[tuple[str, int]]:
    return Counter(word.decode("utf-8") for word in batch[0].tolist()).items()


def _write(counts: dict[str, int], spec: Spec, path: str) -> np.ndarray:
    pieces = subwords.learn(counts, spec.size - len(spec.reserved), spec.min_count)
    with FileSystems.create(path) as file:
        file.write("".join(f"{piece}\n" for piece in (*spec.reserved, *pieces)).encode("utf-8"))
    return np.array(path)
