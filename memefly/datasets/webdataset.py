"""Reads WebDataset's tar shards: members `KEY.jpg`, `KEY.txt`, `KEY.json`, of which each key is a sample.

    >>> convert(Path("shards"), writer)          # a folder of them, or one: shards/train-000000.tar

A key ends at the first dot of a member's name; its samples may stand in any order within a shard. Captions are the
lines of `.txt`, and in `.json` what is under one of the names that a table's column of captions may have. Shards whose
name starts with train, val, validation, dev, eval or test are that split. Nothing of an archive is unpacked but the
pictures and captions of one shard at a time, and links, devices and paths in it are not followed.
"""

from __future__ import annotations

import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from memefly import textfile
from memefly.datasets.folders import ENDINGS
from memefly.datasets.splits import split_named
from memefly.datasets.table import CAPTIONS, captions_of
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError

SHARDS = (".tar", ".tar.gz", ".tgz")
_TEXTS = (".txt", ".caption", ".json")
_LARGEST_TEXT, _LARGEST_PICTURE = 1 << 20, 1 << 28  # bytes


class _Member(tarfile.TarInfo):
    """Of whose end tarfile is silent where an archive was cut in or before a header."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile):
        try:
            return super().fromtarfile(archive)
        except (tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None


@dataclass
class _Sample:
    number: int
    captions: list = field(default_factory=list)
    picture: tuple[str, Path] | None = None  # its name, and where its bytes are meanwhile
    is_part: bool = False  # of a picture: `a.mask.png`
    wrong: list[tuple[str, str]] = field(default_factory=list)  # (reason, detail)


def convert(source: Path, writer: DatasetWriter, limit: int | None = None, caption_column: str | None = None) -> None:
    """`limit` keeps the first so many pictures. `caption_column` names the caption in `.json`. A shard that is damaged
    is read as far as it goes, and told of. Raises `DataError` where there are no shards."""
    shards = sorted(p for p in source.iterdir() if p.name.endswith(SHARDS)) if source.is_dir() else [source]
    if not shards:
        raise DataError(f"{source} has no shards, files in {' '.join(SHARDS)}")
    for shard in shards:
        for key, sample in _samples(writer, shard, caption_column):
            if limit is not None and writer.pictures >= limit:
                return
            _add(writer, shard, key, sample)


def _add(writer: DatasetWriter, shard: Path, key: str, sample: _Sample) -> None:
    here = f"{shard.name}, {key}"
    for reason, detail in sample.wrong:
        writer.leave_out(shard.name, sample.number, reason, f"{here}: {detail}", "caption")
    if not sample.picture:
        return writer.leave_out(shard.name, sample.number, "missing_picture", f"{here}: it has no picture")
    if not sample.captions:
        return writer.leave_out(shard.name, sample.number, "no_captions", f"{here}: it has no caption")
    name, data = sample.picture[0], sample.picture[1].read_bytes()
    split = split_named(re.split(r"[^a-z]", shard.name.lower())[0]) or ""
    writer.add(writer.free_name(Path(name).name, data), data, sample.captions, split=split)


def _samples(writer: DatasetWriter, shard: Path, column: str | None) -> Iterator[tuple[str, _Sample]]:
    """When the shard has been read: any sample may have more until then. Pictures wait on disk."""
    with tempfile.TemporaryDirectory() as spool:
        yield from _read(writer, shard, column, Path(spool)).items()


def _read(writer: DatasetWriter, shard: Path, column: str | None, spool: Path) -> dict[str, _Sample]:
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(shard, "r|*", tarinfo=_Member) as tar:
            for number, member in enumerate(tar):
                if not member.isfile():
                    continue
                key, _, ending = _key(member.name)
                sample = samples.setdefault(key, _Sample(number))
                content = tar.extractfile(member)
                assert content  # of a file
                _take(sample, member, ending, content, column, spool / str(number))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.filename and Path(error.filename) != shard:
            raise  # of what is written
        detail = f"{shard.name} ends early, or is no tar archive: {error}"
        writer.leave_out(shard.name, 0, "broken_archive", detail)
    return samples


def _key(name: str) -> tuple[str, str, str]:
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    return f"{folder}{slash}{stem}", dot, ending.lower()


def _take(
    sample: _Sample, member: tarfile.TarInfo, ending: str, content: IO[bytes], column: str | None, place: Path
) -> None:
    last = f".{ending.rpartition('.')[2]}"
    if last in ENDINGS:
        if member.size > _LARGEST_PICTURE:
            sample.wrong.append(("too_large", f"{member.name} has {member.size:,} bytes"))
        elif sample.picture is None or ("." not in ending and sample.is_part):  # `a.jpg` before `a.mask.png`
            place.write_bytes(content.read())
            sample.picture, sample.is_part = (member.name, place), "." in ending
    elif last in _TEXTS:
        if member.size > _LARGEST_TEXT:
            sample.wrong.append(("too_large", f"{member.name} has {member.size:,} bytes of text"))
            return
        try:
            said = textfile.decode(content.read(), member.name)
            sample.captions += _of_json(said, column) if last == ".json" else _of_lines(said)
        except (ValueError, DataError) as error:
            sample.wrong.append(("not_text", f"{member.name}: {error}"))


def _of_lines(said: str) -> list[str]:
    return [line for line in textfile.lines(said) if line.strip()] if said.strip() else []


def _of_json(said: str, column: str | None) -> list:
    value = textfile.from_json(said)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    name = column or next((one for one in CAPTIONS if one in value), None)
    if name is None or name not in value:
        if column:
            raise ValueError(f"it has no {column!r}")
        return []  # about something else
    captions = captions_of(value[name])
    if captions is None:
        raise ValueError(f"expected a caption in {name!r}, got {textfile.to_json(value[name])[:100]}")
    return captions
