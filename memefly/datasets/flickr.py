"""Reads Flickr8k (Hodosh, Young and Hockenmaier, JAIR 47, 2013) and Flickr30k (Young et al., TACL 2, 2014): in their
authors' layouts, and as they are commonly given on.

    >>> convert(Path("flickr8k"), writer, limit=1000)

Captions are in `Flickr8k.token.txt` or `results_20130124.token` (`NAME#N`, a tab, the caption), in `captions.txt`
(`image,caption`, as CSV), or in `results.csv` (`image_name| comment_number| comment`). The pictures are in one of the
folders of `PICTURES`, or in one of the same name inside it.

Where the lists of Flickr8k's official parts are, the train part becomes `train`, a tenth of it (by hash) `val`, so
that nothing is stopped or tuned on the dev part; dev becomes `eval`, test stays `test` and no pipeline reads it. With a
smaller `val`, whose pictures are among those of a larger one, the rest is trained on too: for the last run, when all
has been chosen. Without these lists, no picture has a side yet.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

from memefly import textfile
from memefly.datasets.folders import PictureFolders
from memefly.datasets.gathered import Gathered
from memefly.datasets.splits import split_of
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError

TOKENS = ("Flickr8k.token.txt", "results_20130124.token", "results.token")
CAPTIONS, RESULTS = "captions.txt", "results.csv"
PARTS = {"train": "Flickr_8k.trainImages.txt", "eval": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
PICTURES = (  # the first archive of Flickr8k itself has the misspelling
    *("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset"),
    *("flickr30k_images", "flickr30k-images", "Flickr30k_Images"),
)
VAL_SHARE = 0.1
# Of Flickr30k's results.csv one line has a blank in the place of its last separator.
_WITHOUT_A_BAR = re.compile(r"\s*(\d+)\s+(\S.*)")


def convert(source: Path, writer: DatasetWriter, limit: int | None = None, val: float = VAL_SHARE) -> None:
    """`limit` keeps that many pictures, drawn evenly (by hash) from all parts; `val` is the share of the official train
    part that is not trained on, above 0 and below 1. Raises `DataError` where the layout is none of these."""
    if not 0 < val < 1:
        raise DataError(f"val is a share of the train part, above 0 and below 1; got {val:g}")
    names = (*TOKENS, CAPTIONS, RESULTS)
    if source.is_file() and source.name in names:
        source = source.parent
    within = [source, *(source / name for name in PICTURES if (source / name).is_dir())]  # where some put it
    path = next((folder / name for folder in within for name in names if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"{source} is neither Flickr8k nor Flickr30k: it has no captions, one of {', '.join(names)}")
    folders = PictureFolders(source, [*PICTURES, *(f"{name}/{name}" for name in PICTURES)])
    parts = {part: source / file for part, file in PARTS.items() if (source / file).is_file()}
    if path.name == TOKENS[0] and not {"train", "eval"} <= set(parts):
        missing = [PARTS[part] for part in ("train", "eval") if part not in parts]
        raise DataError(f"{source} is not Flickr8k as its authors give it out: it lacks {'; '.join(missing)}")
    with Gathered() as gathered:
        for part, file in parts.items():
            for number, name in _names(writer, file):
                if not gathered.picture(name, number, part=part, file=file.name):
                    detail = f"{file}, line {number}: {name} is listed already, there or in another part"
                    writer.leave_out(file.name, number, "split_conflict", detail)
        for number, name, caption in _captions(writer, path):
            gathered.caption(name, caption, number, only_known=bool(parts))
        for picture in gathered.pictures(limit):
            part, file = picture.about.get("part", ""), picture.about.get("file", path.name)
            here = f"{picture.key} is listed as {part}" if part else picture.key
            if not picture.captions:
                detail = f"{here}, but {path.name} has no caption of it"
                writer.leave_out(file, picture.line, "no_captions", detail)
                continue
            found = folders.find(picture.key)
            data = writer.read_picture(found, file, picture.line, f"{here}, but {found} cannot be read")
            if data is not None:
                split = split_of(picture.key, {"train": 1 - val, "val": val}) if part == "train" else part
                writer.add(picture.key, data, picture.captions, file=found, split=split)


def _names(writer: DatasetWriter, path: Path) -> Iterator[tuple[int, str]]:
    """(line, name of a picture) of an official list."""
    for number, line in enumerate(_lines(path), start=1):
        name = line.strip()
        if name and _is_outside(name):
            detail = f"{path}, line {number}: expected the name of a picture, got {name!r}"
            writer.leave_out(path.name, number, "bad_path", detail)
        elif name:
            yield number, name


def _captions(writer: DatasetWriter, path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, name of a picture, caption)."""
    if path.name == CAPTIONS:
        rows, wanted = _rows_of_csv(path), "NAME.jpg,CAPTION"
    elif path.name == RESULTS:
        rows, wanted = _rows_of_bars(path), "NAME.jpg| N| CAPTION"
    else:
        rows, wanted = _rows_of_tokens(path), "NAME.jpg#N, a tab and a caption"
    for number, name, caption in rows:
        if not name or caption is None:
            detail = f"{path}, line {number}: expected {wanted}, got {name[:200]!r}"
            writer.leave_out(path.name, number, "not_a_caption", detail, "caption")
        elif _is_outside(name):
            writer.leave_out(path.name, number, "bad_path", f"line {number}: a path out of it, {name!r}", "caption")
        else:
            yield number, name, caption.strip()


def _rows_of_tokens(path: Path) -> Iterator[tuple[int, str, str | None]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        key, tab, caption = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        yield (number, name, caption) if tab and mark else (number, line, None)


def _rows_of_csv(path: Path) -> Iterator[tuple[int, str, str | None]]:
    with textfile.opened(path, newline="") as text:
        reader = csv.reader(text)
        try:
            for row in reader:
                if not any(row) or (reader.line_num == 1 and row[0].strip() in ("image", "image_name")):
                    continue
                # A caption whose commas nobody quoted has more columns than one, and some have its number before it.
                name, *rest = row
                if len(rest) > 1 and rest[0].strip().isdigit():
                    rest = rest[1:]
                yield reader.line_num, name.strip(), ",".join(rest) if rest else None
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}; expected lines of NAME.jpg,CAPTION") from None


def _rows_of_bars(path: Path) -> Iterator[tuple[int, str, str | None]]:
    for number, line in enumerate(_lines(path), start=1):
        name, bar, rest = line.partition("|")
        if not line.strip() or (number == 1 and "comment" in rest):
            continue
        _, second, caption = rest.partition("|")
        if not second:
            mended = _WITHOUT_A_BAR.fullmatch(rest)
            caption, bar = (mended[2], bar) if mended else ("", "")
        yield (number, name.strip(), caption) if bar else (number, line, None)


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from textfile.stream(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _is_outside(name: str) -> bool:
    return os.path.isabs(name) or ".." in Path(name).parts
