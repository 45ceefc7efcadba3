"""Where the parts of a ROOT are that may lie elsewhere: artifacts, features, pushed versions, and ML Metadata.

    >>> of("root").versions                        # root/serving/captioner
    >>> settle("root", {"versions": "gs://memes/captioner"})
    >>> of("root").versions                        # gs://memes/captioner, for every command on this ROOT from now on

ROOT itself is a folder of this machine, or one that machines share: its lock, the checkpoints of a training at work,
the labels of versions, runs' reports and W&B's files stay in it, and ML Metadata's SQLite where no server is named.
What lies elsewhere stands in ROOT/storage.json.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from memefly import storage
from memefly.errors import UsageError
from memefly.storage import Place

FILE = "storage.json"
# Under ROOT, where nothing is said.
INSIDE = {"artifacts": "artifacts", "features": "features", "versions": "serving/captioner"}
METADATA, _ID = "metadata", "id"


@dataclass(frozen=True)
class Layout:
    root: Path
    artifacts: Place
    features: Place
    versions: Place
    metadata: str  # URL of a database server; "" for SQLite in ROOT
    id: str  # of this ROOT, where ML Metadata is on a server; else ""

    def under(self, uri: str) -> Place:
        """Where something lies that ML Metadata knows by its name in ROOT, such as root://artifacts/Trainer/model/7."""
        inside = uri.removeprefix("root://")
        for name, folder in INSIDE.items():
            if inside == folder or inside.startswith(f"{folder}/"):
                place: Place = getattr(self, name)
                return place / inside[len(folder) + 1 :] if inside != folder else place
        return self.root / inside

    def name_of(self, place: Place) -> str:
        """What is called so under ROOT, wherever that is: `artifacts/Trainer/model/7`."""
        for name, folder in INSIDE.items():
            there: Place = getattr(self, name)
            if place == there or there in place.parents:
                return Path(folder, place.relative_to(there)).as_posix()
        return place.relative_to(self.root).as_posix()


def of(root: str | Path) -> Layout:
    """Of a ROOT as it is. Raises `UsageError` where its file is none of ours."""
    root = Path(root)
    said = _read(root)
    places = {name: storage.at(said[name]) if said.get(name) else root / folder for name, folder in INSIDE.items()}
    return Layout(root, **places, metadata=said.get(METADATA, ""), id=said.get(_ID, ""))


def settle(root: str | Path, wanted: Mapping[str, str]) -> Layout:
    """Of a ROOT that is to be worked in, with what the configuration says of it: places by name, "" for inside. A ROOT
    that is new takes it; raises `UsageError` where one that is not has its things elsewhere."""
    root, said = Path(root), _read(root)
    wanted = {name: place.rstrip("/") for name, place in wanted.items() if place}
    for name, place in wanted.items():
        if said.get(name, "") == place:
            continue
        if name in said or _is_used(root, name):
            there = said.get(name) or str(root / INSIDE.get(name, "metadata.sqlite"))
            raise UsageError(
                f"storage.{name} is {place}, but this ROOT has them in {there}. To move them, copy what is there, and "
                f"write the new place into {root / FILE}; or take a new --root"
            )
    if fresh := {name: place for name, place in wanted.items() if name not in said}:
        if METADATA in fresh:
            fresh[_ID] = uuid.uuid4().hex
        root.mkdir(parents=True, exist_ok=True)
        storage.replace(root / FILE, json.dumps({**said, **fresh}, indent=2) + "\n")
    return of(root)


def _is_used(root: Path, name: str) -> bool:
    if name == METADATA:
        return (root / "metadata.sqlite").exists()
    folder = root / INSIDE[name]
    return folder.is_dir() and any(folder.iterdir())


def _read(root: Path) -> dict[str, str]:
    path = root / FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}): it says where this ROOT's artifacts are; mend it") from None
    known = {one.name for one in fields(Layout)} - {"root"}
    if not isinstance(said, dict) or set(said) - known or not all(isinstance(one, str) for one in said.values()):
        raise UsageError(f"{path}: expected places by name, of {', '.join(sorted(known))}; got {said!r}"[:500])
    return said
