"""Reads a folder of pictures with their captions beside them: `a.jpg` and `a.txt`, in which each line is a caption.

    >>> convert(Path("photos"), writer)

Folders in it are read too. Where the first of them is called train, val, validation, dev, eval or test, that is the
split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from memefly import textfile
from memefly.datasets.folders import ENDINGS
from memefly.datasets.splits import split_named
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError


def convert(source: Path, writer: DatasetWriter, limit: int | None = None) -> None:
    """`limit` keeps the first so many pictures, by name. A picture without captions is left out and told of. Raises
    `DataError` where `source` is no folder."""
    if not source.is_dir():
        raise DataError(f"{source} is not a folder; expected one with pictures and a .txt beside each")
    for path in _pictures(source):
        if limit is not None and writer.pictures >= limit:
            break
        name, beside = str(path.relative_to(source)), path.with_suffix(".txt")
        try:
            captions = [line for line in textfile.stream(beside) if line.strip()]
        except (OSError, DataError) as error:
            detail = f"{name}: no captions in {beside.name}: {getattr(error, 'strerror', None) or error}"
            writer.leave_out(name, 0, "no_captions", detail)
            continue
        if not captions:
            writer.leave_out(name, 0, "no_captions", f"{name}: {beside.name} is empty")
            continue
        data = writer.read_picture(path, name, 0, f"{name} cannot be read")
        if data is not None:
            split = split_named(Path(name).parts[0]) if len(Path(name).parts) > 1 else ""
            writer.add(writer.free_name(path.name, data), data, captions, file=path, split=split or "")


def _pictures(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(here) / name for name in sorted(files) if name.lower().endswith(ENDINGS))
