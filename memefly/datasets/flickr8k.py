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
from collections import defaultdict
from pathlib import Path

from memefly.datasets.records import DatasetWriter, split_of
from memefly.errors import DataError

TOKENS = "Flickr8k.token.txt"
PARTS = {"train": "Flickr_8k.trainImages.txt", "eval": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
PICTURES = ("images", "Flicker8k_Dataset", "Flickr8k_Dataset")  # the archive itself has the first misspelling
VAL_SHARE = 0.1


def convert(source: Path, out: Path, limit: int | None = None, val: float = VAL_SHARE) -> DatasetWriter:
    """Writes the canonical data set. `limit` keeps that many pictures, drawn evenly (by hash) from all parts; `val` is
    the share of the official train part that is not trained on, above 0 and below 1. Raises `DataError`."""
    if not 0 < val < 1:
        raise DataError(f"val is a share of the train part, above 0 and below 1; got {val:g}")
    folder = next((source / name for name in PICTURES if (source / name).is_dir()), None)
    missing = [name for name in (TOKENS, PARTS["train"], PARTS["eval"]) if not (source / name).is_file()]
    if folder is None or missing:
        lacks = missing + ([] if folder else ["a folder of pictures, one of " + ", ".join(PICTURES)])
        raise DataError(f"{source} is not Flickr8k as its authors give it out: it lacks {'; '.join(lacks)}")
    captions = defaultdict(list)
    for number, line in enumerate((source / TOKENS).read_text(encoding="utf-8").splitlines(), start=1):
        key, tab, caption = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        if not tab or not mark:
            raise DataError(f"{source / TOKENS}, line {number}: expected NAME.jpg#N, a tab and a caption, got {line!r}")
        captions[name].append(caption.strip())
    parts = {
        name: split
        for split, file in PARTS.items()
        if (source / file).is_file()
        for name in (source / file).read_text(encoding="utf-8").split()
    }
    names = sorted(parts, key=_order)[:limit]
    with DatasetWriter(out) as writer:
        for name in sorted(names):
            split = split_of(name, {"train": 1 - val, "val": val}) if parts[name] == "train" else parts[name]
            path = folder / name
            if not path.is_file():
                raise DataError(f"{source}: {name} is listed as {parts[name]}, but {path} is not there")
            writer.add(name, path.read_bytes(), captions[name], split=split)
    return writer


def _order(name: str) -> str:
    """A fixed order that has nothing to do with the names."""
    return hashlib.sha256(name.encode()).hexdigest()
