"""What the service allows and how it behaves.

>>> ServiceConfig(rate="60/minute", templates=Path("templates"))
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from memefly.safety import SafetyConfig

MAX_PIXELS = 25_000_000  # of a picture; each is held decoded, twice, while it is checked


class ServiceConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pictures: int = Field(16, ge=1, description="of a request at most")
    megabytes: int = Field(20, ge=1, description="of a request's body at most")
    pixels: int = Field(MAX_PIXELS, ge=1, description="of a picture at most")
    waiting: int = Field(64, ge=1, description="pictures at most that wait or are worked on, over all requests")
    patience: float | None = Field(
        2.0, gt=0, description="times what a picture takes alone that one may wait for its turn; none: for any time"
    )
    seconds: float = Field(30.0, gt=0, description="in which a request's body has to be there")
    prefix: int = Field(500, ge=1, description="characters at most that captions are to begin with")
    rate: str | None = Field(None, description="requests of a client, such as 60/minute; none: any")
    at_once: int | None = Field(None, ge=1, description="requests of a client at the same time; none: any")
    origins: tuple[str, ...] = Field((), description="whose pages may call it (CORS)")
    keys: Path | None = Field(None, description="a file of API keys, one a line; read anew when it changes")
    templates: Path | None = Field(None, description="a folder of templates, or a data set of memes")
    safety: SafetyConfig = Field(
        SafetyConfig(categories=("hate", "sexual", "self_harm", "personal")), description="of words that are written"
    )
    cache_megabytes: int = Field(64, ge=1, description="of memes that were made, kept for who asks again")
    log_words: bool = Field(False, description="whether words of callers and of the model come into the log")

    @field_validator("rate")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            from limits import parse

            parse(value)
        return value
