"""Reads tables of one's own: CSV, TSV, JSON Lines or Parquet, each row a picture and a caption, or several of them.

    >>> convert(Path("captions.csv"), writer, image_column="photo", caption_column="title")

A folder with `metadata.csv`, `metadata.jsonl` or `metadata.parquet` is one too (the convention of Hugging Face's
imagefolder: `file_name` is a path in that folder), and so is one whose folders train, validation and test have one
each. In JSON and Parquet a caption may be a list: of captions, each text or a list of text boxes. In Parquet the
picture may be in the table, as Hugging Face's `datasets` write it: {bytes, path}. Rows of one picture need not be
beside one another. Where there are columns `group` and `split`, they count; `validation`, `valid` and `dev` are `val`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memefly import textfile
from memefly.datasets.splits import split_named
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
IMAGES = ("file_name", "image", "image_path", "filename", "file", "path")
CAPTIONS = ("caption", "captions", "text", "title")
_TABS, _JSON = (".tsv", ".tab"), (".jsonl", ".ndjson")
_PARTS = ("train", "val", "valid", "validation", "dev", "eval", "test")


@dataclass(frozen=True)
class Columns:
    image: str
    caption: str
    group: str
    split: str


def convert(
    source: Path,
    writer: DatasetWriter,
    limit: int | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    group_column: str = "group",
    split_column: str = "split",
) -> None:
    """`limit` keeps the first so many rows that can be used. The columns of pictures and captions are found by what
    they are commonly called, where they are not named. Paths are relative to the table. Rows that cannot be used are
    left out and told of. Raises `DataError` where there is no such table or column."""
    taken = 0
    for path, part in _tables(source):
        columns = None
        for number, row in _rows(writer, path):
            if columns is None:  # the header, or what the first row has
                image = _column(path, row, image_column, IMAGES, "image")
                caption = _column(path, row, caption_column, CAPTIONS, "caption")
                columns = Columns(image, caption, group_column, split_column)
                continue
            taken += _add(writer, path, number, row, columns, part)
            if taken == limit:
                return


def captions_of(value: Any) -> list | None:
    """What a cell has of captions; None where it is neither text nor a list of captions."""
    captions = [value] if isinstance(value, str) else value
    return captions if isinstance(captions, list) and all(map(_is_caption, captions)) else None


def _parts(source: Path) -> list[Path]:
    return [source / name for name in _PARTS if (source / name).is_dir()]


def _tables(source: Path) -> Iterator[tuple[Path, str]]:
    """Tables, each with the split that its folder says."""
    if not source.is_dir():
        yield source, ""
        return
    found = [(folder / name, folder) for folder in (source, *_parts(source)) for name in METADATA]
    there = [(path, folder) for path, folder in found if path.is_file()]
    for path, folder in there or found[:1]:
        yield path, "" if folder == source else split_named(folder.name) or ""


def _rows(writer: DatasetWriter, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row), after (0, the header)."""
    ending = path.suffix.lower()
    try:
        if ending in _JSON:
            yield from _rows_of_json(writer, path)
        elif ending == ".parquet":
            yield from _rows_of_parquet(path)
        else:
            yield from _rows_of_csv(path, "\t" if ending in _TABS else ",")
    except OSError as error:
        if error.filename is None or Path(error.filename) != path:
            raise  # of what is written
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _rows_of_csv(path: Path, separator: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with textfile.opened(path, newline="") as text:
        reader = csv.DictReader(text, delimiter=separator, skipinitialspace=True)
        names = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = names
        yield 0, dict.fromkeys(names)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}; is it a table as its ending says?") from None


def _rows_of_json(writer: DatasetWriter, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
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


def _rows_of_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    with path.open("rb") as file:
        try:
            table = pyarrow.parquet.ParquetFile(file)
            yield 0, dict.fromkeys(table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches(batch_size=64):  # pictures may be in it
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged, or no Parquet: {error}") from None


def _column(path: Path, row: dict, wanted: str | None, usual: tuple[str, ...], what: str) -> str:
    name = wanted if wanted is not None else next((one for one in usual if one in row), None)
    if name is None or name not in row:
        asked = f"no column {wanted!r}" if wanted else f"no column that could be the {what} ({', '.join(usual)})"
        raise DataError(
            f"{path} has {asked}; it has {', '.join(map(str, row)) or 'none'}. Name it: --{what}-column NAME"
        )
    return name


def _add(writer: DatasetWriter, path: Path, number: int, row: dict, columns: Columns, part: str) -> bool:
    """Whether the row could be used."""

    def leave_out(reason: str, detail: str) -> bool:
        writer.leave_out(path.name, number, reason, f"line {number}: {detail}")
        return False

    name, data = _picture(row.get(columns.image), number)
    said = row.get(columns.caption)
    if not isinstance(name, str) or not name.strip():
        return leave_out("not_a_record", f"expected a path in {columns.image!r}, got {_short(name)}")
    captions = captions_of(said)
    if captions is None:
        return leave_out("not_text", f"expected a caption in {columns.caption!r}, got {_short(said)}")
    if not any(one.strip() if isinstance(one, str) else one for one in captions):
        return leave_out("no_captions", f"there is nothing in {columns.caption!r}")
    side = str(row.get(columns.split) or "").strip()
    if side and split_named(side) is None:
        return leave_out("not_a_split", f"expected {', '.join(_PARTS)} in {columns.split!r}, got {side!r}")
    picture = None if data is not None else path.parent / name.strip()
    if picture:
        data = writer.read_picture(picture, path.name, number, f"line {number}: no picture {name}")
    if data is None:
        return False
    writer.add(
        writer.free_name(Path(name.strip()).name, data),
        data,
        captions,
        file=picture,
        group=str(row.get(columns.group) or ""),
        split=split_named(side) or part,
    )
    return True


def _picture(value: Any, number: int) -> tuple[Any, bytes | None]:
    """What a cell has of a picture: its path, and its bytes where they are in the table."""
    if isinstance(value, bytes):
        return f"{number}.jpg", value
    if isinstance(value, dict):
        data = value.get("bytes")
        return (value.get("path") or f"{number}.jpg", data) if isinstance(data, bytes) else (value.get("path"), None)
    return value, None


def _short(value: Any) -> str:
    try:
        return textfile.to_json(value)[:100]
    except TypeError:  # of what only Parquet has
        return repr(value)[:100]


def _is_caption(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(box, str) for box in value))
