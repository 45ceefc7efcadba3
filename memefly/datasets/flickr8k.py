"""Reads Flickr8k in its own layout (Hodosh, Young and Hockenmaier, JAIR 47, 2013).

    >>> convert(Path("flickr8k"), Path("data/flickr8k"), limit=1000)

Wanted: `Flickr8k.token.txt`, `Flickr_8k.trainImages.txt`, `Flickr_8k.devImages.txt`, if at hand
`Flickr_8k.testImages.txt`, and the pictures in `images/`, `Flicker8k_Dataset/` or `Flickr8k_Dataset/`. The official
train part becomes `train`, a tenth of it (by hash) `val`, so that nothing is stopped or tuned on the dev part; dev
becomes `eval`, test stays `test` and no pipeline reads it. With a smaller `val`, whose pictures are among those of a
larger one, the rest is trained on too: for the last run, when all has been chosen.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from pathlib import Path

from memefly import textfile
from memefly.datasets.records import DatasetWriter, split_of
from memefly.errors import DataError

TOKENS = "Flickr8k.token.txt"
PARTS = {"train": "Flickr_8k.trainImages.txt", "eval": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
PICTURES = ("images", "Flicker8k_Dataset", "Flickr8k_Dataset")  # the archive itself has the first misspelling
VAL_SHARE = 0.1
MAX_MISSING = 0.1  # of the listed pictures, as `data.max_quarantined` has it of a run's


def convert(
    source: Path, out: Path, limit: int | None = None, link: bool = False, val: float = VAL_SHARE
) -> DatasetWriter:
    """Writes the canonical data set. `limit` keeps that many pictures, drawn evenly (by hash) from all parts; `val` is
    the share of the official train part that is not trained on, above 0 and below 1. Pictures that are listed and not
    there are left out and told of. Raises `DataError`, also where more than `MAX_MISSING` of them are."""
    if not 0 < val < 1:
        raise DataError(f"val is a share of the train part, above 0 and below 1; got {val:g}")
    folder = next((source / name for name in PICTURES if (source / name).is_dir()), None)
    missing = [name for name in (TOKENS, PARTS["train"], PARTS["eval"]) if not (source / name).is_file()]
    if folder is None or missing:
        lacks = missing + ([] if folder else ["a folder of pictures, one of " + ", ".join(PICTURES)])
        raise DataError(f"{source} is not Flickr8k as its authors give it out: it lacks {'; '.join(lacks)}")
    captions = defaultdict(list)
    for number, line in enumerate(_lines(source / TOKENS), start=1):
        key, tab, caption = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        if not tab or not mark:
            raise DataError(f"{source / TOKENS}, line {number}: expected NAME.jpg#N, a tab and a caption, got {line!r}")
        captions[name].append(caption.strip())
    parts = _parts(source)
    names = sorted(parts, key=_order)[:limit]
    with DatasetWriter(out, max_left_out=MAX_MISSING, link=link) as writer:
        for name in sorted(names):
            where, number = parts[name]
            part = next(part for part, file in PARTS.items() if file == where)
            split = split_of(name, {"train": 1 - val, "val": val}) if part == "train" else part
            if not captions[name]:
                detail = f"{name} is listed as {part}, but {TOKENS} has no caption of it"
                writer.leave_out(where, number, "no_captions", detail)
                continue
            try:
                data = (folder / name).read_bytes()
            except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
                what = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
                detail = f"{name} is listed as {part}, but {folder / name} {what}"
                writer.leave_out(where, number, "missing_picture", detail)
                continue
            writer.add(name, data, captions[name], file=folder / name, split=split)
    return writer


def _lines(path: Path) -> list[str]:
    try:
        return textfile.lines(textfile.read(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _parts(source: Path) -> dict[str, tuple[str, int]]:
    """By the name of a picture, the list that it stands in and its line there."""
    found: dict[str, tuple[str, int]] = {}
    for file in PARTS.values():
        if not (source / file).is_file():
            continue
        for number, line in enumerate(_lines(source / file), start=1):
            name = line.strip()
            if not name:
                continue
            if os.path.isabs(name) or ".." in Path(name).parts:
                raise DataError(f"{source / file}, line {number}: expected a picture in {source}, got {name!r}")
            if found.setdefault(name, (file, number))[0] != file:
                raise DataError(f"{source / file}, line {number}: {name} stands in {found[name][0]} too")
    return found


def _order(name: str) -> str:
    """A fixed order that has nothing to do with the names."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()
