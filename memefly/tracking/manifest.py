"""What W&B's lineage graph is to show: which run of a part of the pipeline used which artifacts and made which, and
where the labels of promotions are. Written under ROOT first, and said to a server from there (`memefly.tracking.sync`).

    >>> entry = Entry("train", makes=(Artifact("captioner", "model", digest, files={"memefly.json": "serving/…"}),))
    >>> add(root, entry)
    >>> [entry.job_type for entry in read(root)]
    ['train']

    ROOT/wandb/lineage.jsonl     an entry a line, as things were; one that is withdrawn has a line too
    ROOT/wandb/said.jsonl        which parts of which entries which server has

An artifact is known by the digest of its content, whose first 16 digits are an alias of it: the same content is the
same version, in whatever order and from wherever it is said. Files are named by their places under ROOT, which may be
moved.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memefly import textfile
from memefly.errors import UsageError

LINEAGE, SAID = "lineage.jsonl", "said.jsonl"
ALIAS = 16  # digits of a digest


@dataclass(frozen=True)
class Artifact:
    """Of an artifact that an entry uses, the first three say all."""

    name: str
    type: str
    digest: str  # SHA-256 of its content, in hexadecimal
    aliases: tuple[str, ...] = ()  # beside `latest`, which W&B gives, and `alias`
    metadata: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    files: dict[str, str] = field(default_factory=dict)  # by their names in the artifact, where they lie under ROOT
    references: dict[str, str] = field(default_factory=dict)  # URIs of what is too large to be sent

    @property
    def alias(self) -> str:
        return self.digest[:ALIAS]


@dataclass(frozen=True)
class Link:
    """Labels, in W&B's words aliases, that a promotion puts on an artifact; each leaves the one that it was on."""

    artifact: Artifact
    aliases: tuple[str, ...]
    registry: bool = False  # whether it shows in W&B's registry too, where there is one


@dataclass(frozen=True)
class Entry:
    job_type: str  # log-raw-data | process-data | train | evaluate | promote
    uses: tuple[Artifact, ...] = ()
    makes: tuple[Artifact, ...] = ()
    links: tuple[Link, ...] = ()
    run: str = ""  # memefly's
    wandb_run: str = ""  # the run of W&B that it belongs to; one of its own where that is empty
    config: dict[str, Any] = field(default_factory=dict)
    when: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    )
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])


def add(root: str | Path, entry: Entry) -> None:
    """Written through to the disk; an entry that is there already, by its id, is not written twice."""
    with _changing(root) as folder:
        if entry.id not in {one.id for one in read(root)}:
            _append(folder / LINEAGE, asdict(entry))


def withdraw(root: str | Path, entry: str) -> None:
    """Of an entry, by its id, that turned out not to be: it is as if it had never been added."""
    with _changing(root) as folder:
        if entry in {one.id for one in read(root)}:
            _append(folder / LINEAGE, {"withdrawn": entry})


def read(root: str | Path) -> list[Entry]:
    """The oldest first. Raises `UsageError` where a line is none of ours."""
    found: dict[str, Entry] = {}
    path = Path(root) / "wandb" / LINEAGE
    for number, said in _lines(path):
        try:
            if "withdrawn" in said:
                found.pop(said["withdrawn"], None)
            else:
                entry = _entry(said)
                found[entry.id] = entry
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path}, line {number}, is no entry ({error!r}); mend or remove that line") from None
    return list(found.values())


def acknowledge(root: str | Path, server: str, entry: str, part: str) -> None:
    """`server`, an URL and a project, has this part of the entry."""
    with _changing(root) as folder:
        _append(folder / SAID, {"server": server, "entry": entry, "part": part})


def acknowledged(root: str | Path, server: str) -> set[tuple[str, str]]:
    """(entry, part) that `server` has."""
    lines = _lines(Path(root) / "wandb" / SAID)
    return {(said["entry"], said["part"]) for _, said in lines if said.get("server") == server}


def _entry(said: dict[str, Any]) -> Entry:
    links = [Link(_artifact(one["artifact"]), tuple(one["aliases"]), one["registry"]) for one in said["links"]]
    uses, makes = (tuple(map(_artifact, said[key])) for key in ("uses", "makes"))
    return Entry(**{**said, "uses": uses, "makes": makes, "links": tuple(links)})


def _artifact(said: dict[str, Any]) -> Artifact:
    return Artifact(**{**said, "aliases": tuple(said["aliases"])})


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Those that were written whole: one that a kill cut off was never promised to anybody."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            said = json.loads(line)
            if not isinstance(said, dict):
                raise ValueError("expected an object")
        except ValueError as error:
            raise UsageError(f"{path}, line {number}, is not JSON ({error}); mend or remove that line") from None
        yield number, said


def _append(path: Path, said: dict[str, Any]) -> None:
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(0)
            whole = file.read().rfind(b"\n") + 1
            file.truncate(whole)  # of a line that a kill cut off
        file.write(textfile.to_json(said).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _changing(root: str | Path) -> Iterator[Path]:
    folder = Path(root) / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lineage.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder
