"""Reads the split files of Karpathy and Fei-Fei (arXiv 1412.2306): `dataset_coco.json`, `dataset_flickr8k.json` and
`dataset_flickr30k.json`.

    >>> convert(Path("coco/dataset_coco.json"), writer)

`train` and `restval` are trained on: of COCO 113,287 pictures. `val` is what everybody stops and tunes on, and stays
`val`; `test` is what everybody reports on, and becomes `eval`. The pictures are beside the file, in the folder that it
names for each (`filepath`), or where `flickr` and `coco` would look for them.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memefly import textfile
from memefly.datasets import flickr
from memefly.datasets.folders import PictureFolders, names_in_both_years
from memefly.datasets.records import validator
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError
from memefly.schemas import SCHEMAS

NAMES = ("dataset_coco.json", "dataset_flickr8k.json", "dataset_flickr30k.json")
SCHEMA = SCHEMAS / "karpathy-image.schema.json"
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "eval"}
_OF_COCO = [f"{part}{year}" for year in (2014, 2017) for part in ("train", "val")]
_FOLDERS = (*_OF_COCO, *(f"images/{folder}" for folder in _OF_COCO), *flickr.PICTURES)


def convert(source: Path, writer: DatasetWriter, limit: int | None = None) -> None:
    """`limit` keeps that many pictures, drawn evenly (by hash) from all parts. `source`: the file, or a folder with one
    of `NAMES`. Raises `DataError` where there is none, or several."""
    path = source
    if source.is_dir():
        found = [source / name for name in NAMES if (source / name).is_file()]
        if len(found) != 1:
            raise DataError(f"{source} has {len(found)} of {', '.join(NAMES)}; name one of them: {source}/{NAMES[0]}")
        path = found[0]
    folders = PictureFolders(path.parent, _FOLDERS)
    drawn = None if limit is None else set(heapq.nsmallest(limit, range(_count(path)), _order))
    for number, image in enumerate(_images(path)):
        if drawn is None or number in drawn:
            _add(writer, folders, path, number, image)


def _images(path: Path) -> Iterator[Any]:
    return textfile.stream_json(path, "images.item", "a list of images")


def _count(path: Path) -> int:
    return sum(1 for _ in _images(path))


def _order(number: int) -> bytes:
    """A fixed order that has nothing to do with that of the file, in which parts may stand one after another."""
    return hashlib.sha256(str(number).encode()).digest()


def _add(writer: DatasetWriter, folders: PictureFolders, path: Path, number: int, image: Any) -> None:
    here = f"{path.name}, image {number}"
    if wrong := validator(SCHEMA)(image):
        return writer.leave_out(path.name, number, "not_a_record", f"{here}: {wrong}")
    name, folder = image["filename"], image.get("filepath", "")
    if Path(name).name != name or ".." in Path(folder).parts or Path(folder).is_absolute():
        detail = f"{here}: expected a picture inside {path.parent}, got {folder!r}, {name!r}"
        return writer.leave_out(path.name, number, "bad_path", detail)
    captions = [" ".join(sentence["raw"].split()) for sentence in image["sentences"]]
    if not any(captions):
        return writer.leave_out(path.name, number, "no_captions", f"{here} ({name}) has no caption")
    found = folders.find(*([f"{folder}/{name}"] if folder else []), *names_in_both_years(name))
    data = writer.read_picture(found, path.name, number, f"{here}: {found} cannot be read")
    if data is not None:
        writer.add(name, data, captions, file=found, split=SPLITS[image["split"]])
