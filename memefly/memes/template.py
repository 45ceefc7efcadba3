"""Templates: pictures that memes are made of, and where on them text stands.

    >>> templates = Templates.read(Path("templates"))          # a folder of *.yaml with their pictures
    >>> templates.search("drake yes no")[0].name
    'Drake Hotline Bling'

A template is a YAML file beside its picture:

    name: Drake Hotline Bling
    picture: drake.jpg
    words: [drake, no, yes]                                    # to find it by, beside its name
    boxes:                                                     # upper and lower, where there are none
      - {x: 0.5, y: 0.0, width: 0.5, height: 0.5, anchor: middle}
      - {x: 0.5, y: 0.5, width: 0.5, height: 0.5, anchor: middle, style: {upper: false, colour: black, outline: none}}
    examples: [[writing tests, shipping on friday]]

A data set in the canonical form will do too: each picture with a `group` is a template of that name, with the places
of text boxes that an importer found (`text_boxes`), and its captions are examples.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from PIL import Image, ImageColor
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from memefly import text, textfile
from memefly.datasets import records
from memefly.errors import DataError, in_our_words

_PAGE, _MARGIN = 480.0, 4.0  # pixels: how wide a picture is on the page that `text_boxes` are of, and what is left free
_EXAMPLES = 20  # of a data set's captions


def _colour(value: str) -> str:
    if value != "none":
        try:
            ImageColor.getrgb(value)
        except ValueError:
            raise ValueError(f"expected a colour, such as white or #ffcc00, or none; got {value!r}") from None
    return value


# As a document says it; Pillow reads more: capitals, rgb(255, 204, 0), hsl().
_COLOURS = rf"^(none|{'|'.join(sorted(ImageColor.colormap))}|#([0-9a-fA-F]{{3,4}}|[0-9a-fA-F]{{6}}|[0-9a-fA-F]{{8}}))$"
Colour = Annotated[str, AfterValidator(_colour), WithJsonSchema({"type": "string", "pattern": _COLOURS})]
Share = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Style(_Frozen):
    """How a text looks."""

    font: Literal["anton", "sans"] = Field("anton", description="anton: the letter of memes | sans: Noto Sans Black")
    upper: bool = Field(True, description="written in capitals")
    colour: Colour = "white"
    outline: Colour = Field("black", description="around letters; none: without")
    largest: float = Field(0.16, gt=0, le=1, description="height of an em, as a share of the picture's height")


class Box(_Frozen):
    """A place of text: `x` and `y` of its upper left corner, `width` and `height`, all as shares of the picture, before
    it is turned by `angle` degrees around its middle, counter-clockwise."""

    x: Share
    y: Share
    width: float = Field(gt=0, le=1)
    height: float = Field(gt=0, le=1)
    anchor: Literal["top", "middle", "bottom"] = Field("middle", description="where a text stands that is less high")
    align: Literal["left", "center", "right"] = "center"
    angle: float = Field(0.0, ge=-180, le=180)
    style: Style = Style()


UPPER = Box(x=0.01, y=0.01, width=0.98, height=0.26, anchor="top")
LOWER = Box(x=0.01, y=0.73, width=0.98, height=0.26, anchor="bottom")
BOXES = (UPPER, LOWER)


class Template(_Frozen):
    """`key` is what it is addressed by: a-z, 0-9 and hyphens."""

    key: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    name: str = Field(min_length=1, max_length=100)
    picture: Path
    words: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = Field(BOXES, min_length=1, max_length=20)
    examples: tuple[tuple[str, ...], ...] = ()

    @functools.cached_property
    def searched(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text.tokenize(" ".join([self.name, self.key.replace("-", " "), *self.words]))))


@dataclass(frozen=True)
class Templates:
    """By key, in their order."""

    by_key: dict[str, Template] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Templates:
        """Of a folder of YAML files, or of a data set. Raises `DataError`: which file, what is wrong in it."""
        if (folder / records.CAPTIONS_FILE).is_file():
            found = list(_of_data(folder))
        elif folder.is_dir():
            found = [_of_file(path) for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])]
        else:
            raise DataError(f"no folder {folder}; expected one of templates (*.yaml) or a data set (captions.jsonl)")
        if not found:
            raise DataError(f"no template in {folder}; expected *.yaml, or captions.jsonl whose pictures have a group")
        by_key: dict[str, Template] = {}
        for template in found:
            if template.key in by_key:
                raise DataError(f"{folder}: two templates have the key {template.key!r}; rename one of their files")
            by_key[template.key] = template
        return cls(by_key)

    def __len__(self) -> int:
        return len(self.by_key)

    def __iter__(self) -> Iterator[Template]:
        return iter(self.by_key.values())

    def search(self, query: str) -> list[Template]:
        """Those in which each word of the query begins one of the words to find them by; whole words first."""
        wanted = text.tokenize(query)
        if not wanted:
            return list(self)

        def told(template: Template) -> tuple[int, int] | None:
            words = template.searched
            if not all(any(word.startswith(part) for word in words) for part in wanted):
                return None
            return -sum(part in words for part in wanted), -sum(part in text.tokenize(template.name) for part in wanted)

        ranked = [(rank, i, one) for i, one in enumerate(self) if (rank := told(one)) is not None]
        return [one for _, _, one in sorted(ranked, key=lambda entry: entry[:2])]


def key_of(name: str) -> str:
    """What a name is addressed by; "template" where it has no letter of ASCII."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "template"


def _of_file(path: Path) -> Template:
    try:
        # All as text, which the fields below read: to YAML 1.1 the words no, yes, on and off are no words.
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected name, picture, words, boxes, examples; got {type(content).__name__}")
    picture = content.get("picture")
    if not isinstance(picture, str) or Path(picture).is_absolute() or ".." in Path(picture).parts:
        raise DataError(f"{path}: picture: expected the name of a file beside it, got {picture!r}")
    if not (path.parent / picture).is_file():
        raise DataError(f"{path}: picture: no file {path.parent / picture}")
    examples = content.get("examples") or []
    if isinstance(examples, list):
        examples = [[one] if isinstance(one, str) else one for one in examples]
    content = {key: value for key, value in content.items() if value != ""}
    return _checked(path, content | {"key": key_of(path.stem), "picture": path.parent / picture, "examples": examples})


def _checked(path: Path, content: dict[str, Any]) -> Template:
    try:
        return Template(**content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        got = repr(problem["input"]) if isinstance(problem.get("input"), (str, int, float)) else "…"
        raise DataError(f"{path}: {where}: {in_our_words(problem)}; got {got[:100]}") from None


def _of_data(folder: Path) -> Iterator[Template]:
    """One of each group, by its first picture; lines that are no records are passed over, as the pipeline does."""
    seen: dict[str, dict[str, Any]] = {}
    for line in records.read_lines(folder):
        try:
            value = textfile.from_json(line.content)
        except ValueError:
            continue
        if records.validator(records.SCHEMA)(value) or not (group := value.get("group")):
            continue
        if value.get("split", "train") != "train":
            continue
        if group not in seen:
            picture = folder / value["image"]
            boxes = boxes_of_page(value.get("text_boxes"), picture)
            name = group.replace("-", " ").strip()[:100] or group[:100]
            seen[group] = {"name": name, "picture": picture, "examples": []} | ({"boxes": boxes} if boxes else {})
        examples = seen[group]["examples"]
        few = value["captions"][: _EXAMPLES - len(examples)]
        examples += [[caption] if isinstance(caption, str) else caption for caption in few]
    for group, template in seen.items():
        yield _checked(folder / records.CAPTIONS_FILE, template | {"key": key_of(group)})


def boxes_of_page(places: Any, picture: Path) -> list[Box]:
    """Of `text_boxes` as importers write them: places in pixels of a page on which the picture is 480 wide. Where one
    of them lies below it, the picture that they were meant for was higher than this one, and they are scaled."""
    if not isinstance(places, list) or not places:
        return []
    try:
        with Image.open(picture) as opened:
            height_of_page = _PAGE * opened.height / opened.width
    except OSError as error:
        raise DataError(f"{picture} cannot be read ({error})") from None
    lowest = max(place["top"] + place["height"] for place in places)
    across, down = _PAGE, height_of_page if lowest <= height_of_page * 1.02 else lowest + _MARGIN
    found = []
    for place in places:
        x, y = min(1.0, place["left"] / across), min(1.0, place["top"] / down)
        width, height = min(1 - x, place["width"] / across), min(1 - y, place["height"] / down)
        if width > 0 and height > 0:
            middle = y + height / 2
            anchor = "top" if middle < 1 / 3 else "bottom" if middle > 2 / 3 else "middle"
            found.append(Box(x=x, y=y, width=width, height=height, anchor=anchor))
    return found
