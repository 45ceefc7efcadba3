"""Reads tables of one's own: CSV, TSV or JSON Lines, each row a picture and a caption, or several of them.

    >>> convert(Path("captions.csv"), Path("data/mine"), image="photo", caption="title")

A folder with `metadata.csv` or `metadata.jsonl` is one too (the convention of Hugging Face's imagefolder: `file_name`
is a path in that folder). In JSON a caption may be a list: of captions, each text or a list of text boxes. Rows of one
picture need not be beside one another. Where there are columns `group` and `split`, they count; `validation`, `valid`
and `dev` are `val`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from memefly import textfile
from memefly.datasets.records import DatasetWriter
from memefly.errors import DataError

METADATA = ("metadata.csv", "metadata.jsonl")
IMAGES = ("file_name", "image", "image_path", "filename", "file", "path")
CAPTIONS = ("caption", "captions", "text", "title")
SPLITS = {"validation": "val", "valid": "val", "dev": "val"} | {name: name for name in ("train", "val", "eval", "test")}
_TABS = (".tsv", ".tab")


def convert(
    source: Path,
    out: Path,
    limit: int | None = None,
    link: bool = False,
    image: str | None = None,
    caption: str | None = None,
    group: str = "group",
    split: str = "split",
) -> DatasetWriter:
    """Writes the canonical data set; `limit` keeps the first so many rows that can be used. `image`, `caption`, `group`
    and `split` name columns; the first two are found by what they are commonly called. Paths are relative to the table.
    Rows that cannot be used are left out and told of. Raises `DataError` where there is no such table or column, or
    nothing in it can be used."""
    path = source
    if source.is_dir():
        path = next((source / name for name in METADATA if (source / name).is_file()), source / METADATA[0])
    try:
        with DatasetWriter(out, link=link) as writer:
            rows = _rows_of_json(writer, path) if path.suffix == ".jsonl" else _rows(path)
            taken = 0
            for number, row in tqdm(rows, unit=" rows", disable=None):
                if not number:  # the header, or what the first row has
                    image = _column(path, row, image, IMAGES, "image")
                    caption = _column(path, row, caption, CAPTIONS, "caption")
                    continue
                assert image and caption  # the header comes first
                taken += _add(writer, path, number, row, image, caption, group, split)
                if taken == limit:
                    break
    except OSError as error:
        if error.filename is None or Path(error.filename) != path:
            raise  # of what is written
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    return writer


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row), after (0, the header)."""
    with textfile.opened(path, newline="") as text:
        reader = csv.DictReader(text, delimiter="\t" if path.suffix.lower() in _TABS else ",", skipinitialspace=True)
        names = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = names
        yield 0, dict.fromkeys(names)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}; is it a table as its ending says?") from None


def _rows_of_json(writer: DatasetWriter, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `_rows`; the header is what the first row has."""
    told = False
    for number, line in enumerate(textfile.stream(path), start=1):
        if not line.strip():
            continue
        try:
            row = textfile.from_json(line)
        except ValueError as error:
            writer.leave_out(path.name, number, "broken_json", f"line {number} is not JSON ({error})")
            continue
        if not isinstance(row, dict):
            detail = f"line {number}: expected an object, got {type(row).__name__}"
            writer.leave_out(path.name, number, "not_a_record", detail)
            continue
        if not told:
            told = True
            yield 0, row
        yield number, row


def _column(path: Path, row: dict, wanted: str | None, usual: tuple[str, ...], what: str) -> str:
    name = wanted if wanted is not None else next((one for one in usual if one in row), None)
    if name is None or name not in row:
        asked = f"no column {wanted!r}" if wanted else f"no column that could be the {what} ({', '.join(usual)})"
        raise DataError(
            f"{path} has {asked}; it has {', '.join(map(str, row)) or 'none'}. Name it: --{what}-column NAME"
        )
    return name


def _add(
    writer: DatasetWriter, path: Path, number: int, row: dict, image: str, caption: str, group: str, split: str
) -> bool:
    """Whether the row could be used."""

    def leave_out(reason: str, detail: str) -> bool:
        writer.leave_out(path.name, number, reason, f"line {number}: {detail}")
        return False

    name, said = row.get(image), row.get(caption)
    if not isinstance(name, str) or not name.strip():
        return leave_out("not_a_record", f"expected a path in {image!r}, got {textfile.to_json(name)[:100]}")
    captions = [said] if isinstance(said, str) else said
    if not isinstance(captions, list) or not all(map(_is_caption, captions)):
        return leave_out("not_text", f"expected a caption in {caption!r}, got {textfile.to_json(said)[:100]}")
    if not any(one.strip() if isinstance(one, str) else one for one in captions):
        return leave_out("no_captions", f"there is nothing in {caption!r}")
    side = str(row.get(split) or "")
    if side and side.strip().lower() not in SPLITS:
        return leave_out("not_a_split", f"expected one of {', '.join(SPLITS)} in {split!r}, got {side!r}")
    picture = path.parent / name.strip()
    try:
        data = picture.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
        return leave_out("missing_picture", f"no picture {name}: {getattr(error, 'strerror', None) or error}")
    writer.add(
        writer.free_name(picture.name, data),
        data,
        captions,
        file=picture,
        group=str(row.get(group) or ""),
        split=SPLITS.get(side.strip().lower(), ""),
    )
    return True


def _is_caption(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(box, str) for box in value))
