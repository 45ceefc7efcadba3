"""What files an artifact had when it was made, so that it can be seen when some are gone.

    >>> write("root/artifacts/Trainer/model/7")
    >>> lost("root/artifacts/Trainer/model/7")
    ''

TFX takes an artifact for there while its folder is. The list lies beside the artifact, in the node's own `.system`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from memefly import storage


def write(folder: str | Path) -> None:
    """Lists the files of an artifact that is complete, with their sizes."""
    path = _list_of(Path(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.replace(path, json.dumps(_files(Path(folder))))


def lost(folder: str | Path) -> str:
    """Which file of an artifact is gone or cut, in a few words; empty where none is."""
    folder = Path(folder)
    if not folder.exists():
        return "it is gone"
    try:
        listed = json.loads(_list_of(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # made before there were lists
        return ""
    there = _files(folder)
    for name, size in listed.items():
        if name not in there:
            return f"{name} is gone"
        if there[name] != size:
            return f"{name} has {there[name]:,} bytes, and had {size:,}"
    return ""


def _list_of(folder: Path) -> Path:
    """ROOT/artifacts/<node>/<key>/<id> is listed in ROOT/artifacts/<node>/.system/inventory/<key>-<id>.json."""
    return folder.parents[1] / ".system" / "inventory" / f"{folder.parent.name}-{folder.name}.json"


def _files(folder: Path) -> dict[str, int]:
    paths = [folder] if folder.is_file() else folder.rglob("*")
    return {os.path.relpath(path, folder): path.stat().st_size for path in paths if path.is_file()}
