"""The formats that `memefly import` knows: a line here and a module with one function, `convert`, make one.

    >>> bring(recognise(Path("Flickr8k")), Path("Flickr8k"), Path("data/flickr8k"))

`convert(source, writer, limit, …)` hands pictures and captions to a `writer.DatasetWriter`; what else it takes are
options of the command, `--image-column` for `image_column`. Packages bring their own through entry points of the group
`memefly.importers`: a name, and a function like `convert`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memefly.errors import UsageError

if TYPE_CHECKING:
    from memefly.datasets.writer import DatasetWriter

GROUP = "memefly.importers"


@dataclass(frozen=True)
class Format:
    """`files` are patterns of paths in a source's folder, of which one says that it is this format; a source that is a
    file is called like one of them. Where no format's do, a file's name may end as one of `endings`, and a folder have
    one of `hints`."""

    name: str
    module: str
    what: str
    files: tuple[str, ...]
    endings: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    def fits(self, source: Path) -> bool:
        if source.is_file():
            return any(fnmatch(source.name, pattern) for pattern in self.files)
        return _has(source, self.files)

    def may_fit(self, source: Path) -> bool:
        return source.name.lower().endswith(self.endings) if source.is_file() else _has(source, self.hints)

    def looks(self) -> str:
        files = " or ".join([*self.files, *self.hints])
        return f"{files}, or a file in {' '.join(self.endings)}" if self.endings else files


def _has(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


FORMATS = (
    Format(
        "coco",
        "memefly.datasets.coco",
        "COCO's captions of 2014 or 2017; --download",
        ("annotations/captions_train20??.json", "captions_train20??.json"),
    ),
    Format(
        "karpathy",
        "memefly.datasets.karpathy",
        "Karpathy's splits of COCO, Flickr8k and Flickr30k",
        ("dataset_coco.json", "dataset_flickr8k.json", "dataset_flickr30k.json"),
    ),
    Format(
        "flickr8k",
        "memefly.datasets.flickr",
        "photographs, in their authors' layout or with captions.txt",
        ("Flickr8k.token.txt", "captions.txt"),
    ),
    Format(
        "flickr30k",
        "memefly.datasets.flickr",
        "photographs, in their authors' layout or with results.csv",
        ("results_20130124.token", "results.token", "results.csv", "flickr30k_images/results.csv"),
    ),
    Format("memefly", "memefly.datasets.memefly", "memes.json of the original memefly", ("memes.json",)),
    Format(
        "memegenerator",
        "memefly.datasets.memegenerator",
        "the Library of Congress's list of memes; --download",
        ("memegenerator.csv",),
    ),
    Format(
        "imgflip",
        "memefly.datasets.imgflip",
        "templates.json, and captions/ with text boxes",
        ("templates.json",),
    ),
    Format(
        "imgflip575k",
        "memefly.datasets.imgflip575k",
        "memes/, a JSON a template, and templates/",
        ("memes/*.json", "dataset/memes/*.json"),
    ),
    Format(
        "table",
        "memefly.datasets.table",
        "CSV, TSV, JSON Lines or Parquet with named columns; folders with metadata",
        ("metadata.csv", "metadata.jsonl", "metadata.parquet", "train/metadata.*"),
        endings=(".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet"),
    ),
    Format(
        "webdataset",
        "memefly.datasets.webdataset",
        "tar shards",
        ("*.tar", "*.tar.gz", "*.tgz"),
    ),
    Format(
        "beside",
        "memefly.datasets.beside",
        "pictures, each with a .txt beside it",
        (),
        hints=("*.txt", "*/*.txt"),
    ),
)


def described() -> str:
    """A line for each, for a command's help."""
    return "\n".join(f"  {one.name:<14}{one.what}" for one in FORMATS)


def recognise(source: Path) -> str:
    """What a source is by the names of its files. Raises `UsageError` where it is none of them, or could be several."""
    if not source.exists():
        raise UsageError(f"{source} is not there")
    fitting = [one.name for one in FORMATS if one.fits(source)]
    fitting = fitting or [one.name for one in FORMATS if one.may_fit(source)]
    if len(fitting) != 1:
        what = f"could be {' or '.join(fitting)}" if fitting else "looks like none of the formats known"
        wanted = "; ".join(f"{one.name}: {one.looks()}" for one in FORMATS)
        raise UsageError(f"{source} {what}; say which: memefly import FORMAT {source} ({wanted})")
    return fitting[0]


def bring(
    name: str,
    source: Path,
    out: Path,
    *,
    limit: int | None = None,
    link: bool = False,
    max_left_out: float = 1.0,
    progress: bool = False,
    options: Mapping[str, Any] | None = None,
) -> DatasetWriter:
    """Imports `source`, which is of the format `name`, to `out`. Raises `UsageError` for a name that nobody brings and
    for an option that is not of it, and `DataError` where nothing can be used, or `out` is something else."""
    from memefly.datasets.writer import DatasetWriter  # which the command's help does without

    convert, options = importer(name), dict(options or {})
    known = [one for one in inspect.signature(convert).parameters if one not in ("source", "writer", "limit")]
    for option in options:
        if option not in known:
            flags = ", ".join(f"--{one.replace('_', '-')}" for one in known) or "no options of its own"
            raise UsageError(f"--{option.replace('_', '-')} is not for {name}: it takes {flags}")
    origin = {"format": name, "source": str(source.absolute()), "limit": limit, **options}
    with DatasetWriter(out, max_left_out, link, origin, progress) as writer:
        convert(source, writer, limit, **options)
    return writer


def importer(name: str) -> Callable:
    ours = {one.name: one for one in FORMATS}
    theirs = {one.name: one for one in entry_points(group=GROUP)}
    if name in ours:
        return importlib.import_module(ours[name].module).convert
    if name in theirs:
        return theirs[name].load()
    raise UsageError(f"no format {name!r}; known are {', '.join(sorted({*ours, *theirs}))}")
