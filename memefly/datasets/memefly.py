"""Reads the meme file of the original memefly: `memes.json`, templates with the captions people wrote on them.

    >>> convert(Path("memes"), Path("data/memes"))

A template is one picture with a hundred captions, and a captioner of memes is asked for new jokes about templates it
knows. So captions are parted here, not pictures: every template appears under `train`, `val` and `eval`, each time
with captions of its own (by the hash of the caption's words), and its name is its `group`.

`memefly/schemas/memefly.schema.json` is the schema of a template. What does not follow it is left out and told of, a
caption at a time or a template at a time, and so is a template whose picture cannot be read.
"""

from __future__ import annotations

from pathlib import Path

from memefly import textfile
from memefly.datasets.records import DatasetWriter, part_captions, validator
from memefly.errors import DataError
from memefly.schemas import SCHEMAS

SCHEMA = SCHEMAS / "memefly.schema.json"


def convert(source: Path, out: Path, limit: int | None = None, link: bool = False) -> DatasetWriter:
    """Writes the canonical data set; `limit` keeps the first so many templates. `source`: the folder or the
    file. Raises `DataError` where it is no such file, or nothing in it can be used."""
    path = source / "memes.json" if source.is_dir() else source
    memes = textfile.read_list(path, "templates")
    with DatasetWriter(out, link=link) as writer:
        for number, meme in enumerate(memes[:limit]):
            _add(writer, path, number, meme)
    return writer


def _add(writer: DatasetWriter, path: Path, number: int, meme) -> None:
    here = f"template {number}"
    if wrong := validator(SCHEMA)(meme):
        lacks = [key for key in ("meme_name", "meme_url", "meme_text") if isinstance(meme, dict) and key not in meme]
        if lacks:
            wrong = f"no {lacks[0]!r}; it needs meme_name, meme_url, meme_text"
        return writer.leave_out(path.name, number, "not_a_template", f"{here}: {wrong}")
    name, url, captions = meme["meme_name"], meme["meme_url"], meme["meme_text"]
    if "://" in url:
        raise DataError(
            f"{path}, template {name}: meme_url is {url}. Download the pictures into one folder first and "
            "give paths relative to memes.json"
        )
    picture = path.parent / url
    try:
        data = picture.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
        detail = f"{here} ({name}): no picture {url}: {getattr(error, 'strerror', None) or error}"
        return writer.leave_out(path.name, number, "missing_picture", detail)
    file = writer.free_name(Path(url).name, data)  # two folders may have one of that name each
    kept = []
    for caption in captions:
        if not isinstance(caption, str):
            detail = f"{here} ({name}): expected a caption, which is text, got {textfile.to_json(caption)[:100]}"
            writer.leave_out(path.name, number, "not_text", detail, "caption")
            continue
        kept.append(caption)
    for split, part in part_captions(kept).items():
        writer.add(file, data, part, file=picture, group=name, split=split)
