"""What is asked of GPUs, before any of them is used. Without one, nothing of it has an effect.

>>> configure(DevicesConfig(xla=True))
"""

from __future__ import annotations

import functools
import logging

from pydantic import BaseModel, ConfigDict, Field

log = logging.getLogger(__name__)


class DevicesConfig(BaseModel):
    """How GPUs are used. The defaults are for one that is shared by the pipeline's components and a server."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    memory_growth: bool = Field(True, description="take a GPU's memory as it is needed; false: all of it at once")
    tensor_float_32: bool = Field(
        True, description="products of float32 in TensorFloat-32, on GPUs that have it (Ampere and later)"
    )
    xla: bool = Field(
        False, description="XLA compiles what it can of a graph on GPUs; off, as batches of many shapes compile anew"
    )


@functools.lru_cache(maxsize=1)
def has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def configure(config: DevicesConfig) -> None:
    """Sets it for this process. GPUs that TensorFlow uses already keep their memory as it is, which is told of."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(config.tensor_float_32)
    if config.xla or tf.config.optimizer.get_jit():  # else as TF_XLA_FLAGS has it
        tf.config.optimizer.set_jit("autoclustering" if config.xla else False)
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, config.memory_growth)
    except RuntimeError as error:  # in use already
        log.warning("devices.memory_growth has no effect: %s", error)
