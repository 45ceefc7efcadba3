"""Reads the meme file of the original memefly: `memes.json`, templates with the captions people wrote on them.

    >>> convert(Path("memes"), writer)

A template is one picture with a hundred captions, and a captioner of memes is asked for new jokes about templates it
knows. So captions are parted here, not pictures: every template appears under `train`, `val` and `eval`, each time
with captions of its own (by the hash of the caption's words), and its name is its `group`. `text_boxes` of a record are
the places of its text boxes, from the top down, in pixels of a page on which the picture is about 480 wide.

`memefly/schemas/memefly.schema.json` is the schema of a template. What does not follow it is left out and told of, a
caption at a time or a template at a time, and so is a template whose picture cannot be read.
"""

from __future__ import annotations

import re
from pathlib import Path

from memefly import textfile
from memefly.datasets.records import validator
from memefly.datasets.templates import part_captions
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError
from memefly.schemas import SCHEMAS

SCHEMA = SCHEMAS / "memefly.schema.json"
_PLACE = re.compile(r"(left|top|width|height)\s*:\s*(\d+(?:\.\d+)?)(?:px)?\s*(?:;|$)")  # of CSS


def convert(source: Path, writer: DatasetWriter, limit: int | None = None) -> None:
    """`limit` keeps the first so many templates. `source`: the folder or the file. Raises `DataError` where it is no
    such file."""
    path = source / "memes.json" if source.is_dir() else source
    for number, meme in enumerate(textfile.read_list(path, "templates")[:limit]):
        _add(writer, path, number, meme)


def _add(writer: DatasetWriter, path: Path, number: int, meme) -> None:
    here = f"template {number}"
    if wrong := validator(SCHEMA)(meme):
        lacks = [key for key in ("meme_name", "meme_url", "meme_text") if isinstance(meme, dict) and key not in meme]
        if lacks:
            wrong = f"no {lacks[0]!r}; it needs meme_name, meme_url, meme_text"
        return writer.leave_out(path.name, number, "not_a_template", f"{here}: {wrong}")
    name, url, captions = meme["meme_name"], meme["meme_url"], meme["meme_text"]
    if "://" in url:
        raise DataError(
            f"{path}, template {name}: meme_url is {url}. Download the pictures into one folder first and "
            "give paths relative to memes.json"
        )
    picture = path.parent / url
    data = writer.read_picture(picture, path.name, number, f"{here} ({name}): no picture {url}")
    if data is None:
        return
    kept = []
    for caption in captions:
        if not isinstance(caption, str):
            detail = f"{here} ({name}): expected a caption, which is text, got {textfile.to_json(caption)[:100]}"
            writer.leave_out(path.name, number, "not_text", detail, "caption")
            continue
        kept.append(caption)
    file = writer.free_name(Path(url).name, data)  # two folders may have one of that name each
    places = text_boxes(meme.get("meme_bounding_box"))
    for split, part in part_captions(kept).items():
        writer.add(file, data, part, file=picture, group=name, split=split, text_boxes=places)


def text_boxes(value) -> list[dict[str, float]]:
    """The places that CSS says, `left: 4px; top: 4px; width: 480px; height: 146px;`, from the top down; those that it
    does not say whole are left out."""
    found = [dict(_PLACE.findall(box)) for box in (value if isinstance(value, list) else []) if isinstance(box, str)]
    whole = [{side: float(pixels) for side, pixels in box.items()} for box in found if len(box) == 4]
    return sorted(whole, key=lambda box: (box["top"], box["left"]))
