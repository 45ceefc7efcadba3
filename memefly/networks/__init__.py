"""Caption networks behind one small interface; decoders, training and export know only this.

    >>> network = build(NetworkConfig(), vocabulary_size=5000, feature_shape=(8, 8, 2048), seed=0)
    >>> memory, state = network.encode(features)                   # once a picture
    >>> logits, state, alphas = network.step(memory, state, token) # once a word
    >>> logits, alphas = network.teacher_forced(features, tokens, training=True, noise=(1, 2))

`memory` is what a picture offers, and stays as it is; `state` is what changes with every word. Several captions of a
picture may be written at once over one memory: `state` is a tuple of tensors whose first axis is the caption,
picture-major, so a decoder may repeat and gather it without knowing what it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import tensorflow as tf

_SEED_OF_MEMBER = 1_000_003  # far apart: ensembles of seeds 0 and 1 have no member in common


class NetworkConfig(BaseModel):
    """Kind and sizes of a caption network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["attention", "par_inject", "merge"] = Field(
        "attention", description="Show, Attend and Tell (1502.03044), or where to put the picture (1703.09137)"
    )
    cell: Literal["gru", "lstm"] = Field("gru", description="gru: a quarter less work a word")
    embedding: int = Field(256, ge=1, description="width of a word")
    units: int = Field(256, ge=1, description="width of the recurrent state")
    attention: Literal["additive", "dot"] = Field(
        "additive", description="how positions are scored (1409.0473, 1508.04025)"
    )
    attention_units: int = Field(256, ge=1, description="width of the attention's keys and values, over all heads")
    heads: int = Field(1, ge=1, description="of dot-product attention (1706.03762)")
    dropout: float = Field(0.3, ge=0.0, lt=1.0, description="on features, words and the deep output (1409.2329)")
    tie_weights: bool = Field(True, description="words share one matrix at both ends (1608.05859)")
    members: int = Field(1, ge=1, le=16, description="networks that choose each word together (1609.06647)")

    @model_validator(mode="after")
    def _heads_fit(self) -> NetworkConfig:
        if self.attention == "additive" and self.heads != 1:
            raise ValueError(f"additive attention has one head, heads is {self.heads}; set network.attention=dot")
        if self.attention_units % self.heads:
            raise ValueError(f"attention_units is {self.attention_units}, which {self.heads} heads do not divide")
        return self


class Network(Protocol):
    """What a caption network offers.

    Shapes: P pictures, C captions a picture, B = P * C captions, L = h * w positions, T tokens, V words.
    """

    vocabulary_size: int
    positions: int  # L, of alphas
    attends: bool  # whether alphas are the network's own, or uniform

    def encode(self, features: tf.Tensor) -> tuple:
        """Standardised features float32 (P, h, w, D) to (memory, state of one caption a picture)."""

    def step(self, memory, state, token: tf.Tensor) -> tuple[tf.Tensor, tuple, tf.Tensor]:
        """The last token int (B,) to logits (B, V) of the next one, the new state, and alphas (B, L)."""

    def teacher_forced(
        self, features: tf.Tensor, tokens: tf.Tensor, *, fed: tf.Tensor | None, training: bool, noise
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """All steps at once: features (P, h, w, D) and tokens (P, C, T) to the logits of every token that is not
        padding, float32 (real tokens, V) in row-major order of `tokens[..., 1:]`, and alphas (B, T - 1, L), zero
        where there is no token. Fastest where a picture's longest captions come first.
        `fed` (P, C, T), where given, is what is read in the place of `tokens`; what is predicted stays. `noise` is a
        pair of integers that seeds dropout."""


def build(config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int) -> Network:
    """A freshly initialised network; same arguments, same weights."""
    from memefly.networks.attention import AttentionNetwork
    from memefly.networks.ensemble import Ensemble
    from memefly.networks.merge import MergeNetwork
    from memefly.networks.par_inject import ParInjectNetwork

    kinds = {"attention": AttentionNetwork, "par_inject": ParInjectNetwork, "merge": MergeNetwork}
    seeds = [seed + i * _SEED_OF_MEMBER for i in range(config.members)]
    networks = [kinds[config.kind](config, vocabulary_size, feature_shape, own) for own in seeds]
    return networks[0] if len(networks) == 1 else Ensemble(networks)
