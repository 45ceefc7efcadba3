"""bfloat16 where the processor has it: oneDNN computes matrix products and convolutions in it, at about twice the pace.

    >>> with computing_in("auto"): step(features, tokens)

Grappler rewrites each graph when it first runs (`auto_mixed_precision_onednn_bfloat16`): weights, sums and everything
delicate stay in float32 (Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", arXiv 1905.12322).
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

OPTION = "auto_mixed_precision_onednn_bfloat16"
_FLAGS = {"avx512_bf16", "amx_bf16"}


@functools.lru_cache(maxsize=1)
def has_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether this machine's processor computes in bfloat16."""
    try:
        flags = Path(cpuinfo).read_text(encoding="utf-8")
    except OSError:
        return False
    return any(_FLAGS & set(line.split()) for line in flags.splitlines() if line.startswith("flags"))


def resolve(precision: str) -> str:
    """`auto` to what it means on this machine. bfloat16 on a processor that has none is float32, and is told of."""
    if precision == "float32" or has_bfloat16():
        return "bfloat16" if precision == "auto" else precision
    if precision == "bfloat16":
        log.warning("this processor has no bfloat16 (avx512_bf16, amx_bf16): computing in float32")
    return "float32"


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Graphs that first run inside compute so; what was set before is set again after."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get(OPTION, False)
    tf.config.optimizer.set_experimental_options({OPTION: resolve(precision) == "bfloat16"})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({OPTION: before})
