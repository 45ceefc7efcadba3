"""What ImageFeatures leaves: Examples without pictures, and beside them what their features are.

    >>> told = read("root/artifacts/ImageFeatures/features/7")
    >>> told.encoder, told.shape, told.standardizer()

The features themselves stay in the store, by the key of their encoder and of their picture.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from memefly.encoders.feature_store import FeatureStore
from memefly.encoders.standardize import Standardizer
from memefly.storage import Place

FILE = "features.json"


@dataclass(frozen=True)
class Told:
    encoder: str  # its digest, which keys the store
    shape: tuple[int, int, int]  # h, w, D
    mean: tuple[float, ...]  # over all positions of all pictures of train, by channel
    std: tuple[float, ...]

    def standardizer(self) -> Standardizer:
        return Standardizer(np.array(self.mean, np.float32), np.array(self.std, np.float32))

    def store(self, folder: str | Place) -> FeatureStore:
        return FeatureStore(folder, self.encoder)


def write(uri: str, told: Told) -> None:
    with tf.io.gfile.GFile(f"{uri}/{FILE}", "w") as file:
        file.write(json.dumps(dataclasses.asdict(told)) + "\n")


def read(uri: str) -> Told:
    with tf.io.gfile.GFile(f"{uri}/{FILE}") as file:
        told = json.loads(file.read())
    return Told(told["encoder"], tuple(told["shape"]), tuple(told["mean"]), tuple(told["std"]))
