"""bfloat16 where the processor has it: oneDNN computes matrix products and convolutions in it, at about twice the pace.
Encoding on a GPU is in float16 there (Micikevicius et al., "Mixed Precision Training", arXiv 1710.03740).

    >>> with computing_in("auto"): step(features, tokens)
    >>> encode = always_in("auto", encode.get_concrete_function())

Grappler rewrites each graph when it is called (`auto_mixed_precision_onednn_bfloat16`): weights, sums and everything
delicate stay in float32 (Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", arXiv 1905.12322).
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

log = logging.getLogger(__name__)

# Grappler's rewriting to each precision.
OPTION = "auto_mixed_precision_onednn_bfloat16"
_OPTIONS = {"bfloat16": OPTION, "float16": "auto_mixed_precision"}
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
    """`auto` to what it means on this machine's processor. bfloat16 where it has none is float32, and is told of."""
    if precision in ("float32", "float16") or has_bfloat16():
        return "bfloat16" if precision == "auto" else precision
    if precision == "bfloat16":
        log.warning("this processor has no bfloat16 (avx512_bf16, amx_bf16): computing in float32")
    return "float32"


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Graphs called inside compute so, whenever they were traced; what was set before is set again after."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get(OPTION, False)
    tf.config.optimizer.set_experimental_options({OPTION: resolve(precision) == "bfloat16"})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({OPTION: before})


def always_in(precision: str, function: tf.types.experimental.ConcreteFunction) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph of one tensor to one, which computes so wherever it is called from: no state, so safe among threads.

    `precision`: float32, bfloat16 (of processors), float16 (of GPUs), or auto, which is one of the first two."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

    config = config_pb2.ConfigProto()
    toggle = rewriter_config_pb2.RewriterConfig
    settled = resolve(precision)
    for name, option in _OPTIONS.items():
        setattr(config.graph_options.rewrite_options, option, toggle.ON if settled == name else toggle.OFF)
    serialized = config.SerializeToString()
    (dtype,) = (output.dtype for output in function.outputs)

    def call(tensor: tf.Tensor) -> tf.Tensor:
        (result,) = tf.raw_ops.PartitionedCall(args=[tensor], Tout=[dtype], f=function, config_proto=serialized)
        return result

    return call
