"""Mean and standard deviation of features a channel, the same to the bit in whatever order pictures are added up.

    >>> moments = Moments.of(features) + Moments.of(others)      # float16 (h, w, D) each
    >>> mean, std = moments.mean_and_std()                        # float32 (D,)

Workers of an engine meet pictures in any order, and sums of floating-point numbers depend on it. Here a picture's means
are cut into integers, whose sums do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LIMBS, _BITS = 3, 30  # what lies behind 2**-60 of a picture's mean is left out, in every order alike


@dataclass(frozen=True)
class Moments:
    """Sums over pictures of what their positions have in the mean: of values and of their squares."""

    pictures: int
    sums: np.ndarray  # int64 (2, 3, D): value or square; units of 1, 2**-30 and 2**-60

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Of one picture: float16 (h, w, D), finite."""
        values = features.reshape(-1, features.shape[-1]).astype(np.float64)
        rest = np.stack([values.mean(axis=0), np.square(values).mean(axis=0)])  # (2, D)
        limbs = []
        for _ in range(_LIMBS):
            whole = np.floor(rest)
            limbs.append(whole.astype(np.int64))
            rest = (rest - whole) * 2.0**_BITS
        return cls(1, np.stack(limbs, axis=1))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.pictures + other.pictures, self.sums + other.sums)

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Float32 (D,) each, over all positions of all pictures; 1 is the deviation of a channel that never varies."""
        units = 2.0 ** (-_BITS * np.arange(_LIMBS))
        mean, square = (self.sums.astype(np.float64) * units[:, np.newaxis]).sum(axis=1) / self.pictures
        std = np.sqrt(np.maximum(square - mean**2, 0.0))
        return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)
