"""Fewer channels of features: the principal components of what an encoder says of the pictures of train.

    >>> fitting = Fitting(D)
    >>> for features in of_train: fitting.add(features)          # float16 (h, w, D)
    >>> write("projection.npz", fitting.solve(256, encoder=digest))
    >>> read("projection.npz")(features)                         # float32 (B, h, w, D) to (B, h, w, 256), in a graph

The components are of the correlation, not of the covariance (Jolliffe, "Principal Component Analysis", 2002, 2.3): the
scale of an encoder's channels differs by orders of magnitude, and a network sees them standardised.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from memefly import storage
from memefly.errors import EncoderError
from memefly.storage import Place

if TYPE_CHECKING:
    import tensorflow as tf

_FORM = "memefly projection 1"


@dataclass(frozen=True)
class Projection:
    """Of the encoder with this digest (`memefly.encoders.config.fitted_on`): D channels to C."""

    mean: np.ndarray  # float32 (D,)
    std: np.ndarray  # float32 (D,), positive
    components: np.ndarray  # float32 (D, C), orthonormal columns, those with the most variance first
    kept: float  # of the variance, a fraction
    pictures: int  # that it was fitted on
    encoder: str

    @property
    def channels(self) -> int:
        return int(self.components.shape[1])

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Graph op: float32 (B, h, w, D) to float32 (B, h, w, C)."""
        import tensorflow as tf

        from memefly.encoders.standardize import CLIP

        standardized = tf.clip_by_value((features - self.mean) * (1 / self.std), -CLIP, CLIP)
        return tf.nn.conv2d(standardized, self.components[np.newaxis, np.newaxis], strides=1, padding="VALID")


class Fitting:
    """Sums over positions of pictures, in float64."""

    def __init__(self, channels: int):
        self._sum, self._products = np.zeros(channels), np.zeros((channels, channels))
        self._positions = self.pictures = 0

    def add(self, features: np.ndarray) -> None:
        """Of one picture: float16 (h, w, D), finite."""
        x = features.reshape(-1, features.shape[-1]).astype(np.float64)
        self._sum += x.sum(axis=0)
        self._products += x.T @ x
        self._positions += len(x)
        self.pictures += 1

    def solve(self, channels: int, encoder: str) -> Projection:
        """Raises `EncoderError` where there are not so many directions in what was added."""
        D = len(self._sum)
        if not 1 <= channels <= min(D, self._positions - 1):
            raise EncoderError(
                f"expected channels from 1 to {min(D, self._positions - 1)}, got {channels}: the features have {D} "
                f"channels, and {self.pictures} pictures have {self._positions} positions to fit on"
            )
        mean = self._sum / self._positions
        covariance = self._products / self._positions - np.outer(mean, mean)
        variance = np.maximum(np.diag(covariance), 0)
        std = np.where(variance > 0, np.sqrt(variance), 1.0)
        values, vectors = np.linalg.eigh(covariance / np.outer(std, std))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1][:, :channels]
        # An eigenvector's sign is of no account to anybody, and would differ between libraries.
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(channels)])
        kept = float(values[:channels].sum() / max(values.sum(), np.finfo(np.float64).tiny))
        mean, std, vectors = (one.astype(np.float32) for one in (mean, std, vectors))
        return Projection(mean, std, vectors, kept, self.pictures, encoder)


def write(path: str | Place, projection: Projection) -> None:
    out = io.BytesIO()
    arrays = {"mean": projection.mean, "std": projection.std, "components": projection.components}
    told = {"form": _FORM, "kept": projection.kept, "pictures": projection.pictures, "encoder": projection.encoder}
    np.savez(out, **arrays, **{name: np.array(value) for name, value in told.items()})
    storage.replace(storage.at(path), out.getvalue())


def read(path: str | Place) -> Projection:
    """Raises `EncoderError` where there is none."""
    wanted = "Expected a file that `memefly project` wrote"
    try:
        with np.load(io.BytesIO(storage.at(path).read_bytes()), allow_pickle=False) as found:
            if str(found["form"]) != _FORM:
                raise EncoderError(f"encoder.projection: {path} says that it is {found['form']}. {wanted}")
            mean, std, components = (found[name].astype(np.float32) for name in ("mean", "std", "components"))
            told = float(found["kept"]), int(found["pictures"]), str(found["encoder"])
    except OSError as error:
        raise EncoderError(f"encoder.projection: {path} cannot be read ({error.strerror or error}). {wanted}") from None
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise EncoderError(f"encoder.projection: {path} is none, or damaged ({error}). {wanted}") from None
    if mean.ndim != 1 or mean.shape != std.shape or components.shape[:1] != mean.shape or components.ndim != 2:
        raise EncoderError(f"encoder.projection: {path} has shapes that do not fit together. {wanted}")
    if not all(np.isfinite(one).all() for one in (mean, std, components)) or (std <= 0).any():
        raise EncoderError(f"encoder.projection: {path} has numbers that are not finite, or no deviation. {wanted}")
    return Projection(mean, std, components, *told)
