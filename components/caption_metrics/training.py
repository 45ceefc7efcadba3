"""The captions that a model may have learnt by heart: those of train and val, on their way to the metrics.

TFMA's metrics see the pictures that are judged and nothing else; this hands them one file more.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable

import tensorflow as tf

from memefly.metrics.learnt import Learnt, Saying

FILE = "training_captions.gz"  # in the folder of an evaluation


def write(path: str, captions: Iterable[tuple[str, str]]) -> None:
    """`captions`: the group of the picture, "" for none, and what was written of it."""
    lines = "".join(json.dumps(pair) + "\n" for pair in captions)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(gzip.compress(lines.encode("utf-8"), mtime=0))


@functools.lru_cache(maxsize=1)
def read(path: str) -> Learnt:
    """Once in a process."""
    with tf.io.gfile.GFile(path, "rb") as file:
        lines = gzip.decompress(file.read()).decode("utf-8").splitlines()
    return Learnt(Saying.of(caption, group) for group, caption in map(json.loads, lines))
