"""The runs of a ROOT, and what came of each, as `ROOT/runs/<run_id>/summary.json` has it.

>>> for run in read("root"):                                # the newest first
...     print(run.run_id, run.state, run.version)
20261127-211825 pushed 1795814419
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memefly import textfile
from memefly.errors import UsageError

SUMMARY = "summary.json"
LATEST = "latest"
_LOCK = re.compile(r"process (\d+) on (.*)")  # as `pipeline.lock` writes it
_ID = re.compile(r"\d{8}-\d{6}(?:-(\d+))?")
STATES = {
    "pushed": "blessed, and its model pushed",
    "blessed": "blessed, and nothing was to be pushed",
    "not blessed": "the gate said no",
    "part": "a part of the pipeline, that ended well",
    "failed": "ended by an error",
    "running": "at work now",
    "broke off": "killed, or its machine went down",
}


@dataclass(frozen=True)
class Run:
    run_id: str
    state: str  # one of STATES
    started: str  # ISO 8601, UTC
    seconds: float | None = None
    pictures: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)  # of its model, on eval
    version: int | None = None  # that it pushed
    git: str = ""
    why: str = ""  # failed, or what of the gate is broken first
    summary: dict[str, Any] = field(default_factory=dict, repr=False)  # as its file has it; empty where there is none

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "summary"}


def read(root: str | Path) -> list[Run]:
    """The newest first. Raises `UsageError` where ROOT is none."""
    folder = Path(root) / "runs"
    if not folder.is_dir():
        raise UsageError(f"no runs in {root}: expected ROOT of `memefly run --root ROOT`, with a folder runs/ in it")
    found = [path for path in folder.iterdir() if _ID.fullmatch(path.name) and path.is_dir()]
    return [_read(path) for path in sorted(found, key=lambda path: _order(path.name), reverse=True)]


def find(root: str | Path, name: str) -> Run:
    """By its id, by what no other one's begins with, or `latest`. Raises `UsageError`."""
    found = read(root)
    if not found:
        raise UsageError(f"no run in {root} yet")
    if name == LATEST:
        return found[0]
    fitting = [run for run in found if run.run_id == name] or [run for run in found if run.run_id.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    said = f"{len(fitting)} runs begin with {name!r}" if fitting else f"no run {name!r}"
    there = ", ".join(run.run_id for run in (fitting or found)[:5])
    raise UsageError(f"{said} in {root}; there are {there}{' …' if len(fitting or found) > 5 else ''}, and latest")


def _order(run_id: str) -> tuple[str, int]:
    """As they were begun: ids of one second are told apart by a number, which grows."""
    match = _ID.fullmatch(run_id)
    return run_id[:15], int(match.group(1) or 1) if match else 0


def _read(folder: Path) -> Run:
    run_id = folder.name
    day, second = run_id[:8], run_id[9:15]
    started = f"{day[:4]}-{day[4:6]}-{day[6:]}T{second[:2]}:{second[2:4]}:{second[4:]}+00:00"
    try:
        said = json.loads(textfile.read(folder / SUMMARY))
        state, why = _state(said)
        pushed = Path(said.get("pushed") or "").name
        return Run(
            run_id, state, said.get("started", started), said.get("seconds"), said.get("data", {}).get("images"),
            said.get("metrics", {}), int(pushed) if pushed.isdecimal() else None, said.get("git", ""), why, said,
        )  # fmt: skip
    except FileNotFoundError:
        return Run(run_id, "running" if _at_work(folder) else "broke off", started)
    except (ValueError, AttributeError, TypeError, UsageError) as error:  # cut off while it was written, or edited
        return Run(run_id, "broke off", started, why=f"{folder / SUMMARY} cannot be read: {error}")


def _state(said: dict[str, Any]) -> tuple[str, str]:
    if said.get("error"):
        return "failed", said["error"]
    if said.get("pushed"):
        return "pushed", ""
    if said.get("gate"):
        return "not blessed", said["gate"][0]
    if said.get("blessed"):
        return "blessed", ""
    return "part", ""


def _at_work(folder: Path) -> bool:
    """Whether it is the newest one, and the process that its ROOT's lock names is there; on another machine, that is
    taken for granted for an hour after the log was last written to."""
    newest = max((p.name for p in folder.parent.iterdir() if _ID.fullmatch(p.name)), key=_order)
    try:
        holder = _LOCK.match((folder.parents[1] / ".lock").read_text(encoding="utf-8"))
    except OSError:
        return False
    if not holder or newest != folder.name:
        return False
    if holder.group(2).strip() == socket.gethostname():
        try:
            os.kill(int(holder.group(1)), 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's
            return True
        return True
    log = folder / "run.log"
    return log.exists() and time.time() - log.stat().st_mtime < 3600
