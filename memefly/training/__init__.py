"""Trains a caption network: teacher forcing, then, if wanted, whole captions for their reward, then the encoder's top.

    >>> result = train(examples, standardizer, vocabulary, NetworkConfig(), TrainingConfig(epochs=10), checkpoints)
    >>> result.network, result.metrics["cider"]

After each epoch the `val` captions are decoded freely and scored; a stage stops when they no longer get better, and
the next one starts from its best weights. `config` names every lever and its source, `loop` runs a stage, `inputs`
streams the data, `stages` says what a stage's step is.
"""

from memefly.training.config import FineTuningConfig, SelfCriticalConfig, TrainingConfig
from memefly.training.inputs import Examples
from memefly.training.stages import TrainingResult, train

__all__ = ["Examples", "FineTuningConfig", "SelfCriticalConfig", "TrainingConfig", "TrainingResult", "train"]
