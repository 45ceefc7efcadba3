"""The canonical data set: a folder with `captions.jsonl`, one picture a line, and the pictures.

    {"image": "images/a.jpg", "captions": ["…", ["…", "…"]], "group": "futurama-fry", "split": "train"}

    >>> for line in read_lines(folder):
    ...     record = parse(line)          # RecordError: what is wrong with the line

A caption is a string, or a list of strings, one a text box in reading order; a `Record` and the Example have a line for
each box. Every importer writes this form through `writer.DatasetWriter`; `CaptionExampleGen` reads only this form.
`group` and `split` may be missing. `memefly/schemas/dataset.schema.json` is the schema of a line.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastjsonschema

from memefly import storage, text, textfile
from memefly.errors import DataError
from memefly.schemas import SCHEMAS
from memefly.storage import Place

CAPTIONS_FILE = "captions.jsonl"
QUARANTINE = "quarantine.jsonl"  # beside it, where an importer left something out
SCHEMA = SCHEMAS / "dataset.schema.json"
_LINE_ENDS = re.compile("[\n\r]+")
_LOOKS_AT_ONCE = 32
REASONS = ("broken_json", "not_a_record", "no_captions", "bad_path", "split_conflict")


class RecordError(DataError):
    """A line of captions.jsonl that cannot be used; `reason` is one of `REASONS`."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Line:
    number: int
    content: str


@dataclass(frozen=True)
class Record:
    image: str
    captions: tuple[str, ...]
    group: str = ""
    split: str = ""
    line: int = 0
    dropped: tuple[str, ...] = field(default=())  # captions without a word in them


def captions_file(folder: str | Place) -> Place:
    """Where the captions of a data set are. Raises `DataError` if it is none."""
    folder = storage.at(folder)
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        what = "is not a folder" if not folder.is_dir() else f"has no {CAPTIONS_FILE}"
        raise DataError(
            f"{folder} {what}. A data set is a folder with {CAPTIONS_FILE} and pictures; "
            "`memefly import` makes one from other formats, `memefly sample` draws one."
        )
    return path


def read_lines(folder: str | Place) -> Iterator[Line]:
    """The lines of a data set that are not blank, numbered from 1. Bytes that are no UTF-8 stay visible as U+FFFD."""
    path = captions_file(folder)
    try:
        for number, content in enumerate(textfile.stream(path, errors="replace"), start=1):
            if content.strip():
                yield Line(number, content)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


@functools.cache
def validator(schema: Path) -> Callable[[Any], str]:
    """A JSON schema as a function that says what is wrong with a value; nothing where nothing is. (jsonschema proper
    takes three seconds to import, for formats unused here.)"""
    validate = fastjsonschema.compile(json.loads(schema.read_text(encoding="utf-8")))

    def wrong(value: Any) -> str:
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException as problem:
            message = problem.message
            return (message if message.startswith("data must") else message.replace("data.", "", 1))[:200]
        return ""

    return wrong


def parse(line: Line) -> Record:
    """Raises `RecordError` for a line that is no record. Captions without a word are dropped and remembered."""
    try:
        value = textfile.from_json(line.content)
    except ValueError as error:
        raise RecordError("broken_json", f"line {line.number} is not JSON ({error})") from None
    if wrong := validator(SCHEMA)(value):
        reason = "no_captions" if "captions" in wrong else "not_a_record"
        raise RecordError(reason, f"line {line.number}: {wrong}")
    image = value["image"]
    if os.path.isabs(image) or ".." in Path(image).parts or not _can_be_a_file(image):
        raise RecordError("bad_path", f"line {line.number}: image must be a path inside the data set, got {image!r}")
    captions = [_caption(caption) for caption in value["captions"]]
    kept = tuple(dict.fromkeys(c for c in captions if text.tokenize(c)))
    if not kept:
        raise RecordError("no_captions", f"line {line.number}: no caption has a word in it")
    dropped = tuple(c for c in captions if not text.tokenize(c))
    return Record(image, kept, _whole(value.get("group", "")), value.get("split", ""), line.number, dropped)


def _caption(value: str | list[str]) -> str:
    """A caption as the Example holds it: its text boxes a line each."""
    boxes = (_LINE_ENDS.sub(" ", _whole(box)).strip() for box in ([value] if isinstance(value, str) else value))
    return "\n".join(box for box in boxes if box)


def _whole(text: str) -> str:
    """With a question mark for what UTF-8 has no bytes for: half of a surrogate pair, as of an emoji that was cut."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _can_be_a_file(name: str) -> bool:
    """Whether a file system has bytes for the name. (Names that are no UTF-8 come as Python writes them, U+DC80 on.)"""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def fingerprint(folder: str | Place) -> str:
    """Changes when the captions or any picture they name changes: content of the one, size and time of the others."""
    folder, digest = storage.at(folder), hashlib.sha256()
    with captions_file(folder).open("rb") as lines:
        for block in iter(lambda: lines.read(1 << 20), b""):
            digest.update(block)

    def looked_at(line: Line) -> str:
        try:
            image = parse(line).image
        except RecordError:
            return ""
        try:
            stat = (folder / image).stat()
            return f"{image}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        except (OSError, ValueError):
            return f"{image}\0missing\n"

    if storage.is_remote(folder):  # where each look takes a while, and many at once no longer
        with ThreadPoolExecutor(_LOOKS_AT_ONCE) as looking:
            every = read_lines(folder)
            while some := list(itertools.islice(every, _LOOKS_AT_ONCE * 32)):
                for told in looking.map(looked_at, some):
                    digest.update(told.encode("utf-8", "replace"))
    else:
        for line in read_lines(folder):
            digest.update(looked_at(line).encode("utf-8", "replace"))
    return digest.hexdigest()


def quarantined(source: str, line: int, reason: str, detail: str, what: str = "record") -> dict:
    """An entry of a `quarantine.jsonl`: where it stands, whether it is a record or a caption, and what is wrong."""
    # Names of files need not be UTF-8, and Beam carries no other text.
    source, detail = (text.encode("utf-8", "backslashreplace").decode("utf-8") for text in (source, detail))
    return {"source": source, "line": line, "what": what, "reason": reason, "detail": detail}
