"""The canonical data set: a folder with `captions.jsonl`, one picture a line, and the pictures.

    {"image": "images/a.jpg", "captions": ["…", ["…", "…"]], "group": "futurama-fry", "split": "train"}

    >>> for line in read_lines(folder):
    ...     record = parse(line)          # RecordError: what is wrong with the line

A caption is a string, or a list of strings, one a text box in reading order; a `Record` and the Example have a line for
each box. Every importer writes this form through `DatasetWriter`; `CaptionExampleGen` reads only this form. `group` and
`split` may be missing. `memefly/schemas/dataset.schema.json` is the schema of a line.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastjsonschema

from memefly import text, textfile
from memefly.errors import DataError
from memefly.schemas import SCHEMAS

CAPTIONS_FILE = "captions.jsonl"
QUARANTINE = "quarantine.jsonl"  # beside it, where an importer left something out
SCHEMA = SCHEMAS / "dataset.schema.json"
SPLITS = ("train", "val", "eval")
_LINE_ENDS = re.compile("[\n\r]+")
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


def captions_file(folder: str | Path) -> Path:
    """Where the captions of a data set are. Raises `DataError` if it is none."""
    folder = Path(folder)
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        what = "is not a folder" if not folder.is_dir() else f"has no {CAPTIONS_FILE}"
        raise DataError(
            f"{folder} {what}. A data set is a folder with {CAPTIONS_FILE} and pictures; "
            "`memefly import` makes one from other formats, `memefly sample` draws one."
        )
    return path


def read_lines(folder: str | Path) -> Iterator[Line]:
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


def split_of(image_id: str, shares: Mapping[str, float]) -> str:
    """The side of a picture: by the hash of its bytes, so that it is the same in every run and every data set.

    `shares` are relative sizes by split name, such as {"train": 8, "val": 1, "eval": 1}; their order does not matter.
    """
    ordered = {name: shares[name] for name in SPLITS if name in shares}
    position = int(hashlib.sha256(f"split/{image_id}".encode()).hexdigest()[:15], 16) / 16**15
    total, reached = sum(ordered.values()), 0.0
    for name, share in ordered.items():
        reached += share / total
        if position < reached:
            return name
    return next(reversed(ordered))


CAPTION_SHARES = {"train": 8, "val": 1, "eval": 1}


def part_captions(captions: Iterable[str | Sequence[str]]) -> dict[str, list[str | Sequence[str]]]:
    """The captions of one picture by split, by the hash of a caption's words: of a meme's template jokes are parted,
    not pictures, since a captioner is asked for new jokes about templates that it knows. Splits without any are left
    out."""
    sides: dict[str, list[str | Sequence[str]]] = {split: [] for split in CAPTION_SHARES}
    for caption in captions:
        words = text.tokenize(caption if isinstance(caption, str) else " ".join(caption))
        sides[split_of(" ".join(words), CAPTION_SHARES)].append(caption)
    return {split: part for split, part in sides.items() if part}


def of_splits(
    folder: str | Path, splits: Container[str], shares: Mapping[str, float] | None
) -> Iterator[tuple[str, Record]]:
    """The records of a data set that can be used and belong to `splits`, each with its split: the one it names, or that
    of its picture's bytes. Records and pictures that cannot be read are passed over: the pipeline tells of them.

    `shares` as in `split_of`. Raises `DataError` where a record names no split and there are none.
    """
    for line in read_lines(folder):
        try:
            record = parse(line)
            split = record.split
            if not split:
                if not shares:
                    raise DataError(
                        f"{folder}: line {record.line} names no split, and the model does not say how its run split "
                        "such pictures, so some of these may be what it was trained on; run the pipeline again"
                    )
                split = split_of(hashlib.sha256((Path(folder) / record.image).read_bytes()).hexdigest(), shares)
        except (RecordError, OSError):
            continue
        if split in splits:
            yield split, record


def fingerprint(folder: str | Path) -> str:
    """Changes when the captions or any picture they name changes: content of the one, size and time of the others."""
    digest = hashlib.sha256(captions_file(folder).read_bytes())
    for line in read_lines(folder):
        try:
            image = parse(line).image
        except RecordError:
            continue
        try:
            stat = os.stat(Path(folder) / image)
            digest.update(f"{image}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "replace"))
        except (OSError, ValueError):
            digest.update(f"{image}\0missing\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # of another disk, or of one that knows no hard links, or somebody else's file
        target.symlink_to(source)


def _safe(name: str) -> str:
    """As a file may be called anywhere."""
    path = Path(re.sub(r"[^\w.-]+", "-", name).strip("-."))
    return (path.stem[:100] or "picture") + path.suffix[:20]


def quarantined(source: str, line: int, reason: str, detail: str, what: str = "record") -> dict:
    """An entry of a `quarantine.jsonl`: where it stands, whether it is a record or a caption, and what is wrong."""
    # Names of files need not be UTF-8, and Beam carries no other text.
    source, detail = (text.encode("utf-8", "backslashreplace").decode("utf-8") for text in (source, detail))
    return {"source": source, "line": line, "what": what, "reason": reason, "detail": detail}


class DatasetWriter:
    """Writes a canonical data set; the folder appears whole or not at all.

    >>> with DatasetWriter(out) as writer:
    ...     writer.add("a.jpg", data, ["a cat"], group="cats")
    """

    def __init__(self, out: str | Path, max_left_out: float = 1.0, link: bool = False):
        """More than the share `max_left_out` of pictures that are left out is an error, and so is nothing but that.
        With `link`, pictures that are files are linked and not copied."""
        self.out = Path(out)
        self._max_left_out, self._link = max_left_out, link
        self.left_out: list[dict] = []
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise DataError(f"{self.out} is already there and not empty; choose another folder or remove it")
        self._partial = self.out.with_name(f".{self.out.name}.partial-{os.getpid()}")
        self._names: dict[str, bytes] = {}
        self.pictures = self.captions = 0

    def __enter__(self) -> DatasetWriter:
        (self._partial / "images").mkdir(parents=True)
        self._lines = (self._partial / CAPTIONS_FILE).open("w", encoding="utf-8")
        return self

    def add(
        self,
        name: str,
        data: bytes,
        captions: Iterable[str | Sequence[str]],
        *,
        file: Path | None = None,
        group: str = "",
        split: str = "",
        **extra,
    ) -> None:
        """One picture with its captions; one picture may come again under another split with other captions. `file` is
        where the data were read from, if from one."""
        safe, digest = _safe(name), hashlib.sha256(data).digest()
        if self._names.setdefault(safe, digest) != digest:
            raise DataError(f"two different pictures are called {name!r}")
        target = self._partial / "images" / safe
        if not target.exists():
            if self._link and file:
                _link(file.resolve(), target)
            else:
                target.write_bytes(data)
        record = {"image": f"images/{safe}", "captions": list(captions)}
        record |= {k: v for k, v in {"group": group, "split": split, **extra}.items() if v}
        self._lines.write(textfile.to_json(record) + "\n")
        self.pictures, self.captions = len(self._names), self.captions + len(record["captions"])

    def leave_out(self, source: str, line: int, reason: str, detail: str, what: str = "record") -> None:
        """Tells of what cannot be taken: `source` and `line` say where it stands, `what` is a record or a caption."""
        self.left_out.append(quarantined(source, line, reason, detail, what))

    def free_name(self, name: str, data: bytes) -> str:
        """A name for the picture that no other one here has: its own, or that with a number."""
        stem, suffix = Path(_safe(name)).stem, Path(_safe(name)).suffix
        digest = hashlib.sha256(data).digest()
        numbered = (f"{stem}-{number}{suffix}" for number in itertools.count(2))
        return next(n for n in itertools.chain([stem + suffix], numbered) if self._names.get(n, digest) == digest)

    def _check(self) -> None:
        """Raises `DataError` where too much was left out."""
        out = [entry for entry in self.left_out if entry["what"] == "record"]
        all_ = self.pictures + len(out)
        if not self.pictures or len(out) > self._max_left_out * all_:
            counts = ", ".join(
                f"{n} {reason}" for reason, n in Counter(e["reason"] for e in self.left_out).most_common()
            )
            first = "; ".join(e["detail"] for e in self.left_out[:3])
            what = (
                "nothing to import"
                if not self.pictures
                else (f"{len(out)} of {all_} pictures would be left out, more than {self._max_left_out:.0%}")
            )
            raise DataError(f"{what}" + (f" ({counts}). The first: {first}" if counts else ": the source is empty"))

    def __exit__(self, kind, error, trace) -> None:
        import shutil

        self._lines.close()
        try:
            if kind is None:
                self._check()
                if self.left_out:
                    path = self._partial / QUARANTINE
                    path.write_text("".join(textfile.to_json(e) + "\n" for e in self.left_out), encoding="utf-8")
                if self.out.exists():
                    self.out.rmdir()
                os.replace(self._partial, self.out)
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)
