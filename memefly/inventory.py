"""What files an artifact had when it was made, so that it can be seen when some are gone.

    >>> write("root/artifacts/Trainer/model/7")
    >>> lost("root/artifacts/Trainer/model/7")
    ''

TFX takes an artifact for there while its folder is. The list lies beside the artifact, in the node's own `.system`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from memefly import storage
from memefly.errors import StorageError
from memefly.storage import Place

_SHARD = re.compile(r"(.*)-[0-9]{5}-of-([0-9]{5})(.*)", re.DOTALL)


def write(folder: str | Place, splits: Sequence[str] = ()) -> None:
    """Lists the files of an artifact that is complete, with their sizes; `splits`: those that it has, with a file each
    at least. Raises `StorageError` where a list lags so far behind that what was written is not in it."""
    folder = storage.at(folder)
    files: dict[str, int] = {}

    def whole() -> bool:
        nonlocal files
        files = storage.sizes(folder) if folder.exists() else {}
        return not _missing(files, splits)

    if not storage.settle(whole):
        raise StorageError(
            f"{folder} lists no {_missing(files, splits)}, {storage.SETTLED:g} seconds after it was written; run "
            "again, and see whether the store lists what it is given"
        )
    path = _list_of(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.replace(path, json.dumps(files))


def wait(folder: str | Place) -> None:
    """Until all files of an artifact are to be seen from here: another machine may have written them a moment ago.
    Raises `StorageError` where one does not come."""
    if not storage.settle(lambda: not lost(folder)):
        raise StorageError(
            f"{folder} is not whole: {lost(folder)}. Whoever made it saw it whole, so it was changed since, or this "
            "machine sees another storage; run again: what is lost is made anew"
        )


def lost(folder: str | Place) -> str:
    """Which file of an artifact is gone or cut, in a few words; empty where none is."""
    folder = storage.at(folder)
    if not folder.exists():
        return "it is gone"
    try:
        listed = json.loads(_list_of(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # made before there were lists
        return ""
    there = storage.sizes(folder)
    for name, size in listed.items():
        if name not in there:
            return f"{name} is gone"
        if there[name] != size:
            return f"{name} has {there[name]:,} bytes, and had {size:,}"
    return ""


def _list_of(folder: Place) -> Place:
    """ROOT/artifacts/<node>/<key>/<id> is listed in ROOT/artifacts/<node>/.system/inventory/<key>-<id>.json."""
    return folder.parents[1] / ".system" / "inventory" / f"{folder.parent.name}-{folder.name}.json"


def _missing(files: dict[str, int], splits: Sequence[str]) -> str:
    """A split without a file, or the first shard of a set, as Beam names them, of which there are others."""
    for split in splits:
        if not any(name.startswith(f"Split-{split}/") for name in files):
            return f"file of Split-{split}"
    sets: dict[tuple[str, str, str], int] = {}
    for name in files:
        if found := _SHARD.fullmatch(name):
            head, number, tail = found.groups()
            sets[head, number, tail] = sets.get((head, number, tail), 0) + 1
    for (head, number, tail), there in sorted(sets.items()):
        if there < int(number):
            names = (f"{head}-{shard:05d}-of-{number}{tail}" for shard in range(int(number)))
            return next(name for name in names if name not in files)
    return ""
