"""Reads ImgFlip575K: `memes/<Template>.json` with captions by text box, and the templates' pictures.

    >>> convert(Path("ImgFlip575K_Dataset"), writer)

A file of `memes/` lists `{"boxes": ["top", "bottom"], "metadata": {"img-votes": "4", …}, …}`; only the boxes are taken,
those that are not empty. Names of authors, addresses and titles are left behind. Pictures are in `templates/img/`, or
beside `templates/<Template>.json`, which has the template's title. Captions are parted, not pictures, and a template
is a group; captions of one template that differ in no word are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from memefly import textfile
from memefly.datasets.folders import PictureFolders
from memefly.datasets.records import validator
from memefly.datasets.templates import Distinct, part_captions
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError
from memefly.schemas import SCHEMAS

SCHEMA = SCHEMAS / "imgflip-caption.schema.json"  # its captions have the same boxes
_TITLE_END = " Meme Template"


def convert(source: Path, writer: DatasetWriter, limit: int | None = None) -> None:
    """`limit` keeps the first so many templates, by name. A template whose file cannot be read is left out and told of,
    and so is a caption. Raises `DataError` where there are no such files."""
    home = next((folder for folder in (source / "dataset", source) if (folder / "memes").is_dir()), None)
    if home is None:
        raise DataError(f"{source} is not ImgFlip575K: it has neither dataset/memes/ nor memes/")
    folders = PictureFolders(home / "templates", ["img", "images"])
    for path in sorted((home / "memes").glob("*.json"))[:limit]:
        title = _title(home / "templates" / path.name) or path.stem.replace("-", " ")
        picture = folders.find_stem(path.stem)
        data = writer.read_picture(picture, path.name, 0, f"template {title}: no picture {picture}")
        if data is None:
            continue
        try:
            listed = textfile.read_list(path, "captions")
        except DataError as error:
            writer.leave_out(path.name, 0, "no_captions", f"template {title}: {error}")
            continue
        parts = part_captions(_captions(writer, path.name, listed))
        if not parts:
            writer.leave_out(path.name, 0, "no_captions", f"template {title}: no caption in it has a word")
        name = writer.free_name(picture.name, data)
        for split, captions in parts.items():
            writer.add(name, data, captions, file=picture, group=title, split=split)


def _captions(writer: DatasetWriter, file: str, listed: list) -> Iterator[list[str]]:
    distinct = Distinct()
    for number, caption in enumerate(listed):
        if wrong := validator(SCHEMA)(caption):
            writer.leave_out(file, number, "not_a_caption", f"{file}, caption {number}: {wrong}", "caption")
            continue
        boxes = [box for box in map(str.strip, caption["boxes"]) if box]
        if reason := distinct.refuses(boxes):
            writer.leave_out(file, number, reason, f"{file}, caption {number}: {reason} {boxes}", "caption")
        else:
            yield boxes


def _title(path: Path) -> str:
    try:
        said = textfile.from_json(textfile.read(path))
        return said["title"].removesuffix(_TITLE_END).strip()
    except (OSError, ValueError, DataError, LookupError, TypeError, AttributeError):  # it has one by its file's name
        return ""
