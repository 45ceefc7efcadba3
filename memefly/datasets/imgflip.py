"""Reads captions of imgflip by template: `templates.json`, `captions/<slug>.jsonl` and the templates' pictures.

    >>> convert(Path("imgflip"), writer)

A line of captions is `{"boxes": ["top", "bottom"], "votes": 4}`, one string a text box; boxes left empty are dropped.
As in `memefly`, captions are parted into train, val and eval, not pictures, and a template is a group. Captions that
differ in no word are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from memefly import textfile
from memefly.datasets.records import validator
from memefly.datasets.templates import Distinct, part_captions
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError
from memefly.schemas import SCHEMAS

TEMPLATES = "templates.json"
TEMPLATE_SCHEMA, CAPTION_SCHEMA = SCHEMAS / "imgflip-template.schema.json", SCHEMAS / "imgflip-caption.schema.json"


def convert(source: Path, writer: DatasetWriter, limit: int | None = None) -> None:
    """`limit` keeps the first so many templates. Templates and captions that do not follow their schemas are left out
    and told of. Raises `DataError` where the list of templates is none."""
    templates = textfile.read_list(source / TEMPLATES, "templates")
    for number, template in enumerate(templates[:limit]):
        if wrong := validator(TEMPLATE_SCHEMA)(template):
            writer.leave_out(TEMPLATES, number, "not_a_template", f"template {number}: {wrong}")
        else:
            _add(writer, source, number, template)


def _add(writer: DatasetWriter, source: Path, number: int, template: dict) -> None:
    slug, picture = template["slug"], source / template["image"]
    here = f"template {number} ({template['name']})"
    if Path(slug).name != slug:
        return writer.leave_out(TEMPLATES, number, "bad_path", f"{here}: expected a name, got slug {slug!r}")
    if Path(template["image"]).is_absolute() or ".." in Path(template["image"]).parts:
        detail = f"{here}: expected a path inside {source}, got image {template['image']!r}"
        return writer.leave_out(TEMPLATES, number, "bad_path", detail)
    data = writer.read_picture(picture, TEMPLATES, number, f"{here}: no picture {template['image']}")
    if data is None:
        return
    listed = source / "captions" / f"{slug}.jsonl"
    try:
        parts = part_captions(_captions(writer, listed))
    except (OSError, DataError) as error:  # DataError: of an encoding that is none of ours
        detail = f"{here}: no captions in {listed}: {getattr(error, 'strerror', None) or error}"
        return writer.leave_out(TEMPLATES, number, "no_captions", detail)
    if not parts:
        return writer.leave_out(TEMPLATES, number, "no_captions", f"{here}: no caption in {listed} has a word in it")
    name = writer.free_name(picture.name, data)
    for split, captions in parts.items():
        writer.add(name, data, captions, file=picture, group=template["name"], split=split)


def _captions(writer: DatasetWriter, path: Path) -> Iterator[list[str]]:
    """The boxes of each, unless nothing is in them."""
    distinct = Distinct()
    for number, line in enumerate(textfile.stream(path), start=1):
        if not line.strip():
            continue
        try:
            caption = textfile.from_json(line)
        except ValueError as error:
            detail = f"{path.name}, line {number} is not JSON ({error})"
            writer.leave_out(path.name, number, "broken_json", detail, "caption")
            continue
        if wrong := validator(CAPTION_SCHEMA)(caption):
            writer.leave_out(path.name, number, "not_a_caption", f"{path.name}, line {number}: {wrong}", "caption")
            continue
        boxes = [box for box in map(str.strip, caption["boxes"]) if box]
        if reason := distinct.refuses(boxes):
            writer.leave_out(path.name, number, reason, f"{path.name}, line {number}: {reason} {boxes}", "caption")
        else:
            yield boxes
