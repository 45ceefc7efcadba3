"""What a caption network is: its configuration, and what decoders, training and export may ask of it.

>>> NetworkConfig(kind="merge", units=512)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

if TYPE_CHECKING:
    import tensorflow as tf

MOST_MEMBERS = 16


class NetworkConfig(BaseModel):
    """Kind and sizes of a caption network."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["attention", "par_inject", "merge", "transformer"] = Field(
        "attention",
        description="Show, Attend and Tell (1502.03044), where to put the picture (1703.09137), or a transformer's "
        "decoder (1706.03762)",
    )
    cell: Literal["gru", "lstm"] = Field("gru", description="gru: a quarter less work a word")
    embedding: int = Field(256, ge=1, description="width of a word")
    units: int = Field(256, ge=1, description="width of the recurrent state, or of a transformer's inner layers")
    layers: int = Field(3, ge=1, le=24, description="of a transformer")
    attention: Literal["additive", "dot"] = Field(
        "additive", description="how positions are scored (1409.0473, 1508.04025)"
    )
    attention_units: int = Field(256, ge=1, description="width of the attention's keys and values, over all heads")
    heads: int = Field(1, ge=1, description="of dot-product attention (1706.03762), which a transformer's is")
    dropout: float = Field(0.3, ge=0.0, lt=1.0, description="on features, words and the deep output (1409.2329)")
    tie_weights: bool = Field(True, description="words share one matrix at both ends (1608.05859)")
    members: int = Field(1, ge=1, le=MOST_MEMBERS, description="networks that choose each word together (1609.06647)")
    beside: tuple[NetworkConfig, ...] = Field(
        (), description="networks of other kinds or sizes that choose each word with them, each with its `members`"
    )
    ngram: int = Field(
        0, ge=0, le=8, description="order of an n-gram model that chooses each word with them (Mikolov 2010); 0: none"
    )

    @field_validator("ngram")
    @classmethod
    def _looks_back(cls, ngram: int) -> int:
        if ngram == 1:
            raise ValueError("ngram is 1, which sees no word before; 2 at least, or 0 for none")
        return ngram

    @model_validator(mode="after")
    def _others_are_plain(self) -> NetworkConfig:
        for at, other in enumerate(self.beside):
            if other.beside or other.ngram:
                key = "beside" if other.beside else "ngram"
                raise ValueError(f"beside[{at}] sets {key}, which belongs to all networks together; set network.{key}")
        if self.every_member > MOST_MEMBERS:
            raise ValueError(f"there are {self.every_member} members, beside counted; at most {MOST_MEMBERS}")
        return self

    @property
    def every_member(self) -> int:
        """How many networks choose each word."""
        return self.members + sum(other.members for other in self.beside)

    @model_validator(mode="after")
    def _heads_fit(self) -> NetworkConfig:
        if self.kind != "transformer" and self.attention == "additive" and self.heads != 1:
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
    normalized: bool  # whether logits are log-probabilities as they come

    def encode(self, features: tf.Tensor) -> tuple:
        """Standardised features float32 (P, h, w, D) to (memory, state of one caption a picture). A dimension of the
        state that is 0 here grows from step to step."""

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
