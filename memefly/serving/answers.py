"""What the service answers, as its OpenAPI document has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from memefly import images
from memefly.memes.render import MAX_TEXT, Written
from memefly.memes.template import Box, Template
from memefly.serving.backends import Model

PICTURE_REASONS = (*images.REASONS, "unsafe", "failed")


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reason(_Told):
    reason: str = Field(description="one word for programs", examples=["busy"])
    detail: str = Field(description="for people: what was expected, what came, what to do")


class Error(_Told):
    error: Reason


class TheModel(_Told):
    """Which model answered."""

    name: str = Field(examples=["captioner"])
    version: int | None = Field(examples=[1700000000])
    digest: str | None = Field(description="SHA-256 of its weights and vocabulary, where it is known")

    @classmethod
    def of(cls, model: Model) -> TheModel:
        return cls(name=model.name, version=model.version, digest=model.digest)


class OneCaption(_Told):
    caption: str = Field(description="a line for each text box", examples=["one does not simply\nwalk into mordor"])
    boxes: list[str] = Field(description="its lines")
    score: float = Field(description="length-normalised log-probability", examples=[-0.41])


class PictureError(_Told):
    reason: str = Field(description=f"one of {', '.join(PICTURE_REASONS)}", examples=["truncated"])
    detail: str


class Captioned(_Told):
    name: str = Field(description="of the file, or the template's key", examples=["cat.jpg"])
    captions: list[OneCaption] = Field(min_length=1, description="best first")


class Failed(_Told):
    name: str
    error: PictureError


class Captions(_Told):
    """Of each picture its captions or its error, in the order in which they came."""

    results: list[Captioned | Failed]
    model: TheModel | None = Field(description="none where no picture got so far as the model")


class OneText(_Told):
    """What came of the words of a text box."""

    text: str
    size: int = Field(description="pixels an em; 0 where nothing is written")
    shortened: bool = Field(description="an ellipsis stands for its end")
    left_out: str = Field(description="characters that no font has")

    @classmethod
    def of(cls, one: Written) -> OneText:
        return cls(text=one.text, size=one.size, shortened=one.shortened, left_out=one.left_out)


class OneMeme(_Told):
    caption: str
    score: float
    texts: list[OneText]
    alt: str = Field(description="in words, for who cannot see it")
    media_type: str = Field(examples=["image/jpeg"])
    width: int
    height: int
    image: str = Field(description="base64")


class Made(_Told):
    name: str
    boxes: list[Box] = Field(description="where the words stand")
    memes: list[OneMeme] = Field(min_length=1)


class Memes(_Told):
    results: list[Made | Failed]
    model: TheModel | None
    seed: int | None = Field(None, description="what captions were drawn with, where they are drawn")


class Word(_Told):
    word: str
    weights: list[list[float]] = Field(description="rows of the picture from above, of sum 1")


class Looked(_Told):
    """Where the model looked for each word of a caption (Show, Attend and Tell, arXiv 1502.03044)."""

    words: list[Word]
    model: TheModel | None


class OneTemplate(_Told):
    key: str
    name: str
    boxes: list[Box]
    examples: list[list[str]] = Field(description="words that people wrote, by text box")
    picture: str = Field(description="a path of this service")

    @classmethod
    def of(cls, template: Template) -> OneTemplate:
        return cls(
            key=template.key, name=template.name, boxes=list(template.boxes),
            examples=[list(one) for one in template.examples[:8]], picture=f"/v1/templates/{template.key}/picture",
        )  # fmt: skip


class Templates(_Told):
    templates: list[OneTemplate]
    total: int = Field(description="of those that the search finds")


class Serving(_Told):
    """The model that answers now."""

    model: TheModel
    samples: bool = Field(description="it draws captions: without a seed of yours they differ from time to time")
    ready: bool
    detail: str


class Ready(_Told):
    ready: bool
    version: int | None
    detail: str


Text = Annotated[str, Field(max_length=MAX_TEXT)]
Format = Literal["png", "jpeg", "webp", "gif"]


class ToWrite(_Told):
    """Words to write on a picture."""

    texts: list[Text] = Field(
        description="one a text box, in order", max_length=20, examples=[["WORDS", "ON A PICTURE"]]
    )
    boxes: list[Box] | None = Field(
        None, min_length=1, max_length=20, description="by default the template's, or an upper and a lower one"
    )
    format: Format | None = Field(None, description="by default the picture's own")
    size: int | None = Field(None, ge=64, le=2048, description="pixels of the longer side; by default the picture's")
    mark: bool = Field(False, description="small print: a machine wrote the words")
