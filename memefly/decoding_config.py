"""How captions are looked for: the settings of `memefly.decoding`, for who asks a model over the wire too. Imports no
TensorFlow.

    >>> DecodingConfig(beam=5)
    >>> KINDS["beam"], PREFIX
    (<class 'int'>, 'prefix')
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST_NGRAM = 4  # that can be blocked
PREFIX = "prefix"  # beside the knobs, in an exported model: a text that captions begin with


class DecodingConfig(BaseModel):
    """How captions are looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    beam: int = Field(3, ge=1, le=64, description="hypotheses kept, or samples drawn; 1 is greedy")
    groups: int = Field(1, ge=1, le=64, description="of the beam, which avoid each other's words (1610.02424)")
    diversity: float = Field(0.5, ge=0.0, description="what a word costs that an earlier group just chose")
    max_length: int = Field(24, ge=2, description="tokens of a caption at most, the </s> counted")
    min_length: int = Field(1, ge=0, description="words of a caption at least")
    length_penalty: float = Field(0.7, ge=0.0, le=2.0, description="0: sum of log-probabilities; 1: their mean")
    block_ngram: int = Field(
        3, ge=0, le=LONGEST_NGRAM, description="no n-gram so long twice in a caption; 0: any (1705.04304)"
    )
    dangling: bool = Field(False, description="whether a caption may end in an article, a preposition or the like")
    temperature: float = Field(0.0, ge=0.0, description="0: search; above: samples from the distribution so flattened")
    top_k: int = Field(0, ge=0, description="samples come from this many words; 0: from all")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="samples come from the likeliest words of this share")
    min_p: float = Field(
        0.0, ge=0.0, lt=1.0, description="samples are at least so likely as this share of the likeliest (2407.01082)"
    )
    typical_p: float = Field(
        1.0, gt=0.0, le=1.0, description="samples come from the most typical words of this share (2202.00666)"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of samples")
    boxes: int = Field(0, ge=0, le=32, description="text boxes of a caption; 0: as many as it likes")
    candidates: int = Field(
        0, ge=0, le=64, description="of which the beam's best are told, ranked as the next three say; 0: no such choice"
    )
    mmi: float = Field(
        0.0, ge=0.0, le=1.0, description="share of log p without the picture that is taken off (1510.03055)"
    )
    repetition: float = Field(0.0, ge=0.0, description="what it costs a candidate to say every pair of tokens twice")
    difference: float = Field(0.0, ge=0.0, description="what it costs to have all tokens of one that is told before")
    judged: int = Field(
        1, ge=1, le=256, description="captions of each picture, drawn with so many seeds, that the gate judges"
    )

    @model_validator(mode="after")
    def _agree(self) -> DecodingConfig:
        width = max(self.beam, self.candidates)
        if width % self.groups:
            raise ValueError(
                f"{'a beam' if width == self.beam else 'candidates'} of {width} has no {self.groups} groups of one "
                "size; make it a multiple of groups"
            )
        if self.judged > 1 and not self.temperature:
            raise ValueError(
                f"judged is {self.judged}, but with a temperature of 0 a picture has the same caption each time; set a "
                "temperature, or leave judged at 1"
            )
        if self.min_length >= self.max_length:
            raise ValueError(
                f"min_length is {self.min_length} words, max_length {self.max_length} tokens with the </s>; "
                "the first must be the smaller"
            )
        return self


# What may differ from picture to picture, and of which type it is.
KINDS: dict[str, type] = {
    name: int if DecodingConfig.model_fields[name].annotation is int else float
    for name in (
        *("beam", "groups", "diversity", "max_length", "min_length", "length_penalty", "block_ngram"),
        *("temperature", "top_k", "top_p", "min_p", "typical_p", "seed"),
        *("boxes", "candidates", "mmi", "repetition", "difference"),
    )
}
