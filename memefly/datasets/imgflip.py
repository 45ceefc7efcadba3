"""Reads captions of imgflip by template: `templates.json`, `captions/<slug>.jsonl` and the templates' pictures.

    >>> convert(Path("imgflip"), Path("data/imgflip"))

A line of captions is `{"boxes": ["top", "bottom"], "votes": 4}`, one string a text box; boxes left empty are dropped.
As in `memefly`, captions are parted into train, val and eval, not pictures, and a template is a group. Captions that
differ in no word are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from memefly import text, textfile
from memefly.datasets.records import DatasetWriter, part_captions, validator
from memefly.errors import DataError
from memefly.schemas import SCHEMAS

TEMPLATES = "templates.json"
TEMPLATE_SCHEMA, CAPTION_SCHEMA = SCHEMAS / "imgflip-template.schema.json", SCHEMAS / "imgflip-caption.schema.json"


def convert(source: Path, out: Path, limit: int | None = None, link: bool = False) -> DatasetWriter:
    """Writes the canonical data set; `limit` keeps the first so many templates. Templates and captions that do not
    follow their schemas are left out and told of. Raises `DataError` where the list of templates is none, or nothing in
    it can be used."""
    templates = textfile.read_list(source / TEMPLATES, "templates")
    with DatasetWriter(out, link=link) as writer:
        for number, template in enumerate(tqdm(templates[:limit], unit=" templates", disable=None)):
            if wrong := validator(TEMPLATE_SCHEMA)(template):
                writer.leave_out(TEMPLATES, number, "not_a_template", f"template {number}: {wrong}")
            else:
                _add(writer, source, number, template)
    return writer


def _add(writer: DatasetWriter, source: Path, number: int, template: dict) -> None:
    slug, picture = template["slug"], source / template["image"]
    here = f"template {number} ({template['name']})"
    if Path(slug).name != slug:
        return writer.leave_out(TEMPLATES, number, "bad_path", f"{here}: expected a name, got slug {slug!r}")
    if Path(template["image"]).is_absolute() or ".." in Path(template["image"]).parts:
        detail = f"{here}: expected a path inside {source}, got image {template['image']!r}"
        return writer.leave_out(TEMPLATES, number, "bad_path", detail)
    try:
        data = picture.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
        detail = f"{here}: no picture {template['image']}: {getattr(error, 'strerror', None) or error}"
        return writer.leave_out(TEMPLATES, number, "missing_picture", detail)
    listed = source / "captions" / f"{slug}.jsonl"
    try:
        lines = textfile.lines(textfile.read(listed))
    except (OSError, DataError) as error:  # DataError: of an encoding that is none of ours
        detail = f"{here}: no captions in {listed}: {getattr(error, 'strerror', None) or error}"
        return writer.leave_out(TEMPLATES, number, "no_captions", detail)
    parts = part_captions(_captions(writer, listed.name, lines))
    if not parts:
        return writer.leave_out(TEMPLATES, number, "no_captions", f"{here}: no caption in {listed} has a word in it")
    for split, captions in parts.items():
        name = writer.free_name(picture.name, data)
        writer.add(name, data, captions, file=picture, group=template["name"], split=split)


def _captions(writer: DatasetWriter, file: str, lines: list[str]) -> Iterator[list[str]]:
    """Each once: the boxes that have something in them."""
    said: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            caption = textfile.from_json(line)
        except ValueError as error:
            writer.leave_out(file, number, "broken_json", f"{file}, line {number} is not JSON ({error})", "caption")
            continue
        if wrong := validator(CAPTION_SCHEMA)(caption):
            writer.leave_out(file, number, "not_a_caption", f"{file}, line {number}: {wrong}", "caption")
            continue
        boxes = [box for box in map(str.strip, caption["boxes"]) if box]
        words = " ".join(text.tokenize(" ".join(boxes)))
        if not words:
            writer.leave_out(file, number, "no_words", f"{file}, line {number}: no word in {boxes}", "caption")
        elif words not in said:
            said.add(words)
            yield boxes
