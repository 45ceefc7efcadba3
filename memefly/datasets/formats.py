"""The formats that `memefly import` knows: a line here and a module with one function, `convert`, make one.

    >>> importer(recognise(Path("Flickr8k")))(Path("Flickr8k"), Path("data/flickr8k"), limit=None, link=False)

Packages bring their own through entry points of the group `memefly.importers`: a name, and a function like `convert`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from memefly.errors import UsageError

GROUP = "memefly.importers"


@dataclass(frozen=True)
class Format:
    """`files`: names in the source's folder that say it is this one, all of them or `any_of` them; a source that is a
    file is one of them, or has one of `endings`."""

    name: str
    module: str
    what: str
    files: tuple[str, ...]
    any_of: bool = False
    endings: tuple[str, ...] = ()

    def fits(self, source: Path) -> bool:
        if source.is_file():
            return source.name in self.files or source.suffix.lower() in self.endings
        here = {path.name for path in source.iterdir()}
        return (any if self.any_of else all)(name in here for name in self.files)

    def looks(self) -> str:
        files = (" or " if self.any_of else " and ").join(self.files)
        return f"{files}, or a file in {' '.join(self.endings)}" if self.endings else files


FORMATS = (
    Format(
        "flickr8k",
        "memefly.datasets.flickr8k",
        "photographs, in their authors' layout",
        ("Flickr8k.token.txt", "Flickr_8k.trainImages.txt"),
    ),
    Format("memefly", "memefly.datasets.memefly", "memes.json of the original memefly", ("memes.json",)),
    Format(
        "imgflip",
        "memefly.datasets.imgflip",
        "templates.json and captions with text boxes",
        ("templates.json", "captions"),
    ),
    Format(
        "table",
        "memefly.datasets.table",
        "CSV, TSV or JSON Lines with named columns; a folder with metadata.csv or metadata.jsonl",
        ("metadata.csv", "metadata.jsonl"),
        any_of=True,
        endings=(".csv", ".tsv", ".tab", ".jsonl"),
    ),
)


def described() -> str:
    """A line for each, for a command's help."""
    return "\n".join(f"  {one.name:<12}{one.what}" for one in FORMATS)


def recognise(source: Path) -> str:
    """What a source is by the names of its files. Raises `UsageError` where it is none of them, or could be several."""
    if not source.exists():
        raise UsageError(f"{source} is not there")
    fitting = [one.name for one in FORMATS if one.fits(source)]
    if len(fitting) != 1:
        what = f"could be {' or '.join(fitting)}" if fitting else "looks like none of the formats known"
        wanted = "; ".join(f"{one.name}: {one.looks()}" for one in FORMATS)
        raise UsageError(f"{source} {what}; say which: memefly import FORMAT {source} ({wanted})")
    return fitting[0]


def importer(name: str, options: Iterable[str] = ()) -> Callable:
    """The function that reads a format and takes `options` beside what all take: source, out, limit and link. Raises
    `UsageError` for a name that nobody brings, and for an option that is not of it."""
    ours = {one.name: one for one in FORMATS}
    theirs = {one.name: one for one in entry_points(group=GROUP)}
    if name in ours:
        convert = importlib.import_module(ours[name].module).convert
    elif name in theirs:
        convert = theirs[name].load()
    else:
        raise UsageError(f"no format {name!r}; known are {', '.join(sorted({*ours, *theirs}))}")
    taken = inspect.signature(convert).parameters
    for option in options:
        if option not in taken:
            flag = f"--{option}" if option == "val" else f"--{option}-column"
            raise UsageError(f"{flag} is not for {name}: it takes {', '.join(taken)}")
    return convert
