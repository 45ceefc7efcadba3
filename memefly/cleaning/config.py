"""The steps of cleaning: their names, what they can be told, and a caption's way through them.

    >>> Cleaning.model_validate(["mojibake", {"step": "language", "languages": ["en", "de"]}])

Steps go over a caption in the order in which they stand, each once. What a step works on is a line, which in a meme is
a text box; what it judges is the whole caption. Steps that compare (`duplicates`, `near_duplicates`, `pictures`) come
last, since they wait for all captions of a picture, or for all pictures.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from memefly import text
from memefly.cleaning import texts
from memefly.safety import Safety, SafetyConfig


class Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step: str
    compares: ClassVar[bool] = False  # captions or pictures with one another
    tells: ClassVar[bool] = True  # what it dropped may be shown

    def line(self, line: str) -> str:
        """What becomes of a line."""
        return line

    def refuses(self, caption: str) -> str:
        """Why a caption is dropped, in a few words; nothing where it stays."""
        return ""


class Mojibake(Step):
    """UTF-8 that was read as something else is put right."""

    step: Literal["mojibake"] = "mojibake"

    def line(self, line: str) -> str:
        return texts.mended(line)


class Html(Step):
    """Entities become characters, tags go."""

    step: Literal["html"] = "html"

    def line(self, line: str) -> str:
        return texts.without_html(line)


class Controls(Step):
    """Controls and what has no width go; blanks are single ones."""

    step: Literal["control"] = "control"

    def line(self, line: str) -> str:
        return texts.without_controls(line)


class Unicode(Step):
    """One spelling for what looks the same."""

    step: Literal["unicode"] = "unicode"
    form: Literal["NFC", "NFKC"] = Field("NFC", description="NFKC also makes wide letters and ligatures plain")

    def line(self, line: str) -> str:
        return texts.normalized(line, self.form)


class Addresses(Step):
    """Addresses of the web go."""

    step: Literal["urls"] = "urls"

    def line(self, line: str) -> str:
        return texts.without_addresses(line)


class Length(Step):
    """Captions that are too short or too long to be one are dropped."""

    step: Literal["length"] = "length"
    min_words: int = Field(1, ge=1)
    max_words: int = Field(60, ge=1)
    max_characters: int = Field(500, ge=1)

    def refuses(self, caption: str) -> str:
        words = len(text.tokenize(caption))
        if not self.min_words <= words <= self.max_words:
            return f"{words} words, not {self.min_words} to {self.max_words}"
        return f"{len(caption)} characters, over {self.max_characters}" if len(caption) > self.max_characters else ""


class Language(Step):
    """Captions that are surely in another language are dropped."""

    step: Literal["language"] = "language"
    languages: tuple[str, ...] = Field(("en",), min_length=1, description="ISO 639-1 codes of those that stay")
    min_words: int = Field(5, ge=1, description="of fewer words, nobody can tell")
    probability: float = Field(0.999, gt=0, le=1, description="that it is another language")

    def refuses(self, caption: str) -> str:
        words = text.tokenize(caption)
        if len(words) < self.min_words:
            return ""
        name, probability = texts.language(" ".join(words))
        if name in self.languages or probability < self.probability:
            return ""
        return f"{name}, with {probability:.0%}"


class Unsafe(Step):
    """Captions that nobody should learn to say are dropped (`memefly.safety`), and not shown."""

    step: Literal["safety"] = "safety"
    filter: SafetyConfig = SafetyConfig()
    tells: ClassVar[bool] = False

    def refuses(self, caption: str) -> str:
        verdict = _safety(self.filter).judge(caption)
        return f"{verdict.category}: {verdict.what}" if verdict else ""


@functools.lru_cache(maxsize=8)
def _safety(config: SafetyConfig) -> Safety:
    return Safety(config)


class Duplicates(Step):
    """Of captions of one picture that differ in no word, the first stays."""

    step: Literal["duplicates"] = "duplicates"
    compares: ClassVar[bool] = True


class NearDuplicates(Step):
    """Of captions of one picture that are nearly the same, one stays: that of the side that is judged on, else the
    first."""

    step: Literal["near_duplicates"] = "near_duplicates"
    similarity: float = Field(0.85, gt=0, le=1, description="share of runs of four characters that they have in common")
    compares: ClassVar[bool] = True


class Pictures(Step):
    """No two pictures that look alike are on two sides."""

    step: Literal["pictures"] = "pictures"
    distance: int = Field(10, ge=0, le=64, description="bits of 256 in which they may differ")
    compares: ClassVar[bool] = True


AnyStep = Annotated[
    Mojibake
    | Html
    | Controls
    | Unicode
    | Addresses
    | Length
    | Language
    | Unsafe
    | Duplicates
    | NearDuplicates
    | Pictures,
    Field(discriminator="step"),
]
KINDS: dict[str, type[Step]] = {kind.model_fields["step"].default: kind for kind in get_args(get_args(AnyStep)[0])}
DEFAULT = ("mojibake", "html", "control", "unicode", "urls", "length")
_Step = TypeVar("_Step", bound=Step)


@dataclass(frozen=True)
class Cleaned:
    """`caption` is empty where it was dropped, by the step `dropped`, for the reason `why`."""

    caption: str
    changed: tuple[str, ...] = field(default=())  # steps
    dropped: str = ""
    why: str = ""


class Cleaning(RootModel[tuple[AnyStep, ...]]):
    """The steps, in order."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _names_are_steps(cls, given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            return tuple({"step": one} if isinstance(one, str) else one for one in given)
        return given

    @model_validator(mode="after")
    def _each_once_and_in_order(self) -> Cleaning:
        names = [step.step for step in self.root]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"step {' and '.join(twice)} stands there twice; each goes over a caption once")
        compare = [step.compares for step in self.root]
        if compare != sorted(compare):
            last = [step.step for step in self.root if step.compares]
            raise ValueError(f"steps that compare come last: {', '.join(last)}")
        return self

    def __iter__(self) -> Iterator[Step]:  # type: ignore[override]
        return iter(self.root)

    def with_safety(self, config: SafetyConfig) -> Cleaning:
        """The same with the filter of `config`: where `safety` stands, or else before the steps that compare."""
        steps = [Unsafe(filter=config) if isinstance(step, Unsafe) else step for step in self.root]
        if config.is_on and not self.step(Unsafe):
            first = next((place for place, step in enumerate(steps) if step.compares), len(steps))
            steps.insert(first, Unsafe(filter=config))
        return Cleaning(tuple(steps))

    def step(self, kind: type[_Step]) -> _Step | None:
        """The step of a kind, if it is one of these."""
        return next((step for step in self.root if isinstance(step, kind)), None)

    def clean(self, caption: str) -> Cleaned:
        """A caption, whose text boxes are a line each, through all steps that do not compare."""
        changed = []
        for step in self.root:
            if step.compares:
                break
            lines = (step.line(line) for line in caption.split("\n"))
            after = "\n".join(line for line in lines if line.strip())
            if after != caption:
                changed.append(step.step)
            caption = after
            if not caption or not text.tokenize(caption):
                return Cleaned("", tuple(changed), step.step, "nothing is left of it")
            if why := step.refuses(caption):
                return Cleaned("", tuple(changed), step.step, why)
        return Cleaned(caption, tuple(changed))
