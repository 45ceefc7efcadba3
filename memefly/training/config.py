"""The recipe: every lever of training, its default and where it comes from.

>>> TrainingConfig(epochs=10, self_critical=SelfCriticalConfig(epochs=3))
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SelfCriticalConfig(BaseModel):
    """A second stage that rewards whole captions for their CIDEr (Rennie et al., arXiv 1612.00563)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(0, ge=0, description="passes over the pictures; 0: no such stage")
    learning_rate: float = Field(1e-4, gt=0, description="at its start; decays as a cosine")
    held_out: float = Field(
        0.0, ge=0, lt=1, description="share of the pictures kept for this stage, not learnt by heart; 0: all for both"
    )
    samples: int = Field(5, ge=2, description="captions of a picture that are compared")
    temperature: float = Field(
        0.0, ge=0, description="0: they are the hypotheses of a beam search (1912.08226); above: drawn (1612.00563)"
    )
    baseline: Literal["samples", "greedy"] = Field(
        "samples", description="what a sample must beat: the mean of the others (2003.09971), or the greedy caption"
    )
    written: float = Field(
        0.0,
        ge=0,
        description="weight of the captions people wrote, as if of that advantage: keeps to them (1705.04304)",
    )
    pictures: int = Field(16, ge=1, description="pictures a batch")
    patience: int = Field(3, ge=1, description="epochs without a better score before the stage stops")


class FineTuningConfig(BaseModel):
    """A last stage that trains the encoder's top blocks too, on pictures in the place of stored features."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(0, ge=0, description="passes over the captions; 0: no such stage")
    learning_rate: float = Field(1e-5, gt=0, description="at its start; decays as a cosine")
    behind: str = Field("mixed8", description="the layer behind which the encoder's layers are trained")
    pictures: int = Field(4, ge=1, description="pictures a batch; they go through the whole encoder")
    patience: int = Field(1, ge=1, description="epochs without a better score before the stage stops")


class TrainingConfig(BaseModel):
    """The recipe. `memefly run --set training.KEY=VALUE` changes a key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(10, ge=1, description="passes over the captions at most")
    max_steps: int | None = Field(None, ge=1, description="steps at most, of each stage; None: as epochs say")
    pictures: int = Field(26, ge=1, description="pictures a batch; 26 with 5 captions each is a batch of 130")
    captions_per_picture: int = Field(5, ge=1, description="captions of a picture in one batch at most")
    bucket: int = Field(3, ge=0, description="pictures whose longest captions differ by less share a batch; 0: any")
    learning_rate: float = Field(1.5e-3, gt=0, description="at its peak; AdamW (1711.05101), cosine decay (1608.03983)")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps (1706.02677)")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW (1711.05101)")
    clip_norm: float = Field(5.0, gt=0, description="global gradient norm (1211.5063)")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="(1512.00567)")
    attention_penalty: float = Field(0.5, ge=0, description="weight of the doubly stochastic term (1502.03044)")
    flip: float = Field(0.0, ge=0, le=1, description="share of mirrored pictures; needs encoder.flip")
    without_picture: float = Field(
        0.0, ge=0, lt=1, description="share of pictures not shown: what is said of none is learnt too (2207.12598)"
    )
    scheduled_sampling: float = Field(
        0.0, ge=0, le=1, description="share of words fed from the network's own, at the end (1506.03099, 1906.04331)"
    )
    average: float = Field(
        0.995, ge=0, lt=1, description="decay of the moving average of weights; 0: none (Polyak 1992)"
    )
    average_last: int = Field(1, ge=1, description="epochs whose weights are averaged at the end (1706.03762, 6.1)")
    stop_on: Literal["bleu4", "cider", "bits_a_character"] = Field(
        "cider", description="the best on val is kept: of freely decoded captions, or of what people wrote"
    )
    patience: int = Field(4, ge=1, description="epochs without a better score before training stops")
    val_pictures: int = Field(500, ge=1, description="pictures of `val` decoded after an epoch at most")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="bfloat16 in matrix products; auto: where the processor has it (1905.12322)"
    )
    strategy: Literal["none", "mirrored", "multi_worker"] = Field(
        "none", description="tf.distribute: devices of this machine, or the workers that TF_CONFIG names"
    )
    checkpoint_steps: int = Field(200, ge=1, description="steps between checkpoints; each epoch ends with one too")
    seed: int = 0
    self_critical: SelfCriticalConfig = SelfCriticalConfig()
    fine_tuning: FineTuningConfig = FineTuningConfig()
