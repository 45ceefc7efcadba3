"""What a model answered, read: its captions, without those that are not to be said, and where it looked.

    >>> read = reader(manifest)
    >>> read(out["captions"][0], out["scores"][0])       # [Caption("a cat on a mat", -0.41), …]

The search in the graph keeps from listed words and phrases already (`memefly.safety.constraint`). What only a whole
text shows, such as a telephone number of several words or what a scorer says, is looked for here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from memefly import text
from memefly.safety import Safety, SafetyConfig
from memefly.spelling import GOES_ON

_NOTHING = -1e6  # scores below are of places that hold no caption


@dataclass(frozen=True)
class Caption:
    text: str  # with a line for each text box
    score: float

    @property
    def boxes(self) -> list[str]:
        return self.text.split("\n")


class Looked(NamedTuple):
    """Where the network looked for each word that it said: float32 (words, h, w), of sum 1 over the picture; the mean
    over its pieces, where a word has several."""

    words: list[str]
    weights: np.ndarray


Reader = Callable[[Iterable[bytes], Iterable[float]], list[Caption]]


def reader(manifest: Mapping) -> Reader:
    """Of a picture's `captions` (K,) and `scores` (K,) those that are captions and may be said, best first; by the
    section `safety` of a model's `memefly.json`. Raises `ConfigError` where the scorer that it names cannot be imported
    here."""
    config = SafetyConfig(**(manifest["config"].get("safety") or {}))
    judge = Safety(config).judge if config.is_on else None

    def read(captions: Iterable[bytes], scores: Iterable[float]) -> list[Caption]:
        found = [Caption(c.decode("utf-8"), float(s)) for c, s in zip(captions, scores) if s > _NOTHING]
        return [caption for caption in found if judge is None or judge(caption.text) is None]

    return read


def looked(tokens: Iterable[bytes], alphas: np.ndarray) -> Looked:
    """Of a picture's row of `explain`: tokens (T,), alphas (T, h, w)."""
    pieces = [token.decode("utf-8") for token in tokens if token and token.decode("utf-8") != text.END]
    begins = [i for i, piece in enumerate(pieces) if not i or not piece.startswith(GOES_ON)]
    ends = [*begins[1:], len(pieces)]
    words = ["".join(piece.removeprefix(GOES_ON) for piece in pieces[a:b]) for a, b in zip(begins, ends)]
    means = [alphas[a:b].mean(axis=0) for a, b in zip(begins, ends)]
    return Looked(words, np.stack(means) if means else np.zeros((0, *alphas.shape[1:]), alphas.dtype))
