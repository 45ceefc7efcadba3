"""The captions that a model may have learnt by heart: those of train and val, on their way to the metrics.

TFMA's metrics see the pictures that are judged and nothing else; this hands them one file more.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import tensorflow as tf

from memefly import text
from memefly.metrics import NoveltyIndex
from memefly.metrics.templates import TemplateClassifier

FILE = "training_captions.gz"  # in the folder of an evaluation


@dataclass(frozen=True)
class Training:
    novelty: NoveltyIndex
    classifier: TemplateClassifier | None  # where the pictures are of groups
    groups: frozenset[str]


def write(path: str, captions: Iterable[tuple[str, str]]) -> None:
    """`captions`: the group of the picture, "" for none, and what was written of it."""
    lines = "".join(json.dumps(pair) + "\n" for pair in captions)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(gzip.compress(lines.encode("utf-8"), mtime=0))


@functools.lru_cache(maxsize=1)
def read(path: str) -> Training:
    """Once in a process."""
    with tf.io.gfile.GFile(path, "rb") as file:
        lines = gzip.decompress(file.read()).decode("utf-8").splitlines()
    captions: list[list[str]] = []
    by_group: dict[str, list[list[str]]] = defaultdict(list)
    for group, caption in map(json.loads, lines):
        captions.append(text.tokenize(caption))
        if group:
            by_group[group].append(captions[-1])
    classifier = TemplateClassifier(by_group) if len(by_group) > 1 else None
    return Training(NoveltyIndex(captions), classifier, frozenset(by_group))
