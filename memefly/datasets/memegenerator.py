"""Reads the memes of memegenerator.net that the Library of Congress keeps, and copies of that list.

    >>> convert(Path("memegenerator"), writer)

Wanted: `memegenerator.csv`, which is UTF-16 with tabs between its columns there, and UTF-8 with tabs or commas in
copies. A caption is `Upper Text` and `Lower Text`, two boxes, where there are such columns, else `Alternate Text`.

The list names memes, and memes have their captions drawn on them, which a captioner would learn to read. So a picture
without words is looked for first: `images/<Base Meme Name>.jpg` (or `.png`, …; or that name in small letters with
hyphens). It is a template, its name is its group, and its captions are parted. Only where there is none, the meme
itself is taken, `instances/<Meme ID>.jpg`, if its size and MD5 are those of the list; with `download`, from `Archived
URL`.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memefly import textfile
from memefly.datasets.folders import PictureFolders
from memefly.datasets.gathered import Gathered
from memefly.datasets.templates import Distinct, part_captions
from memefly.datasets.writer import DatasetWriter
from memefly.downloads import Downloader, Remote
from memefly.errors import DataError

FILE = "memegenerator.csv"
ID, URL, NAME = "Meme ID", "Archived URL", "Base Meme Name"
MD5, SIZE = "MD5 Hash", "File Size (In Bytes)"
TEXT, BOXES = "Alternate Text", ("Upper Text", "Lower Text")
INSTANCES = "instances"
_FOLDERS = ("images", "templates", INSTANCES)


def convert(source: Path, writer: DatasetWriter, limit: int | None = None, download: bool = False) -> None:
    """`limit` keeps that many pictures. `source`: the folder or the file. Raises `DataError` where it is no such list;
    a picture that cannot be had is left out."""
    path = source / FILE if source.is_dir() else source
    folders = PictureFolders(path.parent, _FOLDERS)
    with Gathered() as gathered:
        for number, row in _rows(path):
            _gather(writer, gathered, folders, path, number, row)
        failed = _fetch(path.parent, gathered, limit) if download else {}
        for picture in gathered.pictures(limit):
            about = picture.about
            here = f"line {picture.line} ({about['group']})"
            if reason := failed.get(str(about.get("id"))):
                writer.leave_out(path.name, picture.line, "not_downloaded", f"{here}: {reason}")
                continue
            found = Path(about["path"])
            data = writer.read_picture(found, path.name, picture.line, f"{here}: no picture {found}")
            if data is None:
                continue
            if about["md5"] and hashlib.md5(data, usedforsecurity=False).hexdigest() != about["md5"]:
                detail = f"{here}: {found} is not the picture of MD5 {about['md5']} that the list names"
                writer.leave_out(path.name, picture.line, "other_picture", detail)
                continue
            name = writer.free_name(found.name, data)
            if "id" in about:
                writer.add(name, data, picture.captions, file=found, group=about["group"])
                continue
            for split, captions in part_captions(_distinct(writer, path.name, picture.line, picture.captions)).items():
                writer.add(name, data, captions, file=found, group=about["group"], split=split)


def _distinct(writer: DatasetWriter, file: str, line: int, captions: list) -> Iterator[list[str]]:
    once = Distinct()
    for caption in captions:
        if reason := once.refuses(caption):
            writer.leave_out(file, line, reason, f"the template of line {line}: {reason} {caption}", "caption")
        else:
            yield caption


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with textfile.opened(path, newline="") as text:
            first = text.readline()
            separator = "\t" if "\t" in first else ","
            names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
            if NAME not in names or not ({TEXT, *BOXES} & set(names)):
                raise DataError(
                    f"{path}: expected columns {NAME!r} and {TEXT!r} (or {BOXES[0]!r} and {BOXES[1]!r}), with tabs or "
                    f"commas between them; got {', '.join(names) or 'none'}"
                )
            reader = csv.DictReader(text, names, delimiter=separator)
            try:
                for row in reader:
                    yield reader.line_num + 1, row
            except csv.Error as error:
                raise DataError(f"{path}, line {reader.line_num + 1}: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _gather(
    writer: DatasetWriter, gathered: Gathered, folders: PictureFolders, path: Path, number: int, row: dict[str, Any]
) -> None:
    def of(column: str) -> str:
        value = row.get(column)
        return value.strip() if isinstance(value, str) else ""

    boxes = [" ".join(text.split()) for text in (map(of, BOXES) if any(map(of, BOXES)) else [of(TEXT)])]
    boxes = [box for box in boxes if box]
    name, number_of = of(NAME), of(ID)
    if not name or not boxes:
        lacks = NAME if not name else TEXT
        reason = "not_a_record" if not name else "no_captions"
        return writer.leave_out(path.name, number, reason, f"line {number}: there is nothing in {lacks!r}")
    template = folders.find_stem(*filter(None, (_file_name(name), _slug(name))))
    if template.is_file():
        # By its file: one name may be written in several ways.
        gathered.caption(_key(gathered, number, str(template), path=str(template), md5="", group=name), boxes, number)
        return
    if not number_of.isdigit():
        detail = (
            f"line {number}: no picture of {name!r}, and no number in {ID!r} to find this meme by, got {number_of!r}"
        )
        return writer.leave_out(path.name, number, "missing_picture", detail)
    about = {"id": number_of, "md5": of(MD5).lower(), "size": of(SIZE), "url": of(URL), "group": name}
    found = folders.find(*(f"{number_of}{ending}" for ending in (".jpg", ".png", ".gif")))
    if not found.is_file():
        found = path.parent / INSTANCES / f"{number_of}.jpg"
    gathered.caption(_key(gathered, number, f"meme {number_of}", path=str(found), **about), boxes, number)


def _key(gathered: Gathered, line: int, key: str, **about: str) -> str:
    gathered.picture(key, line, **about)
    return key


def _fetch(folder: Path, gathered: Gathered, limit: int | None) -> dict[str, str]:
    """By the number of a meme, why its picture could not be had."""

    def wanted() -> Iterator[Remote]:
        for picture in gathered.pictures(limit):
            about = picture.about
            if about.get("url") and not Path(about["path"]).is_file():
                size = int(about["size"]) if about["size"].isdigit() else None
                yield Remote(about["url"], Path(about["path"]), size, about["md5"], picture=True)

    failed = Downloader().fetch_all(wanted(), folder / "failed.jsonl")
    return {Path(name).stem: reason for name, reason in failed.items()}


def _file_name(name: str) -> str:
    """As far as it can be the name of a file."""
    return re.sub(r"[/\0]+", " ", name).strip()[:200]


def _slug(name: str) -> str:
    return re.sub(r"[^\w]+", "-", name.replace("'", "").lower()).strip("-")[:200]
