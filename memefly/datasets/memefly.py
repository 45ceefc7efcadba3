"""Reads the meme file of the original memefly: `memes.json`, templates with the captions people wrote on them.

    >>> convert(Path("memes"), Path("data/memes"))

A template is one picture with a hundred captions, and a captioner of memes is asked for new jokes about templates it
knows. So captions are parted here, not pictures: every template appears under `train`, `val` and `eval`, each time
with captions of its own (by the hash of the caption's words), and its name is its `group`.
"""

from __future__ import annotations

import json
from pathlib import Path

from memefly import text
from memefly.datasets.records import DatasetWriter, split_of
from memefly.errors import DataError

SHARES = {"train": 8, "val": 1, "eval": 1}


def convert(source: Path, out: Path, limit: int | None = None) -> DatasetWriter:
    """Writes the canonical data set; `limit` keeps the first so many templates. `source`: the folder or the file."""
    path = source / "memes.json" if source.is_dir() else source
    try:
        memes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is not there; expected the memes.json of memefly beside its pictures") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error})") from None
    if not isinstance(memes, list):
        raise DataError(f"{path}: expected a list of templates, got {type(memes).__name__}")
    with DatasetWriter(out) as writer:
        for number, meme in enumerate(memes[:limit]):
            try:
                name, url, captions = meme["meme_name"], meme["meme_url"], meme["meme_text"]
            except (TypeError, KeyError) as error:
                raise DataError(
                    f"{path}, template {number}: no {error}; it needs meme_name, meme_url, meme_text"
                ) from None
            if "://" in url:
                raise DataError(
                    f"{path}, template {name}: meme_url is {url}. Download the pictures into one folder first and "
                    "give paths relative to memes.json"
                )
            picture = path.parent / url
            if not picture.is_file():
                raise DataError(f"{path}, template {name}: no picture {picture}")
            sides: dict[str, list[str]] = {split: [] for split in SHARES}
            for caption in captions:
                words = " ".join(text.tokenize(caption))
                sides[split_of(words, SHARES)].append(caption)
            for split, part in sides.items():
                if part:
                    writer.add(picture.name, picture.read_bytes(), part, group=name, split=split)
    return writer
