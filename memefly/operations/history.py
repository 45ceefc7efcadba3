"""Which model was live when, by whom and why: versions as runs pushed them, and the moves of labels.

>>> for event in read("root"):                              # the oldest first
...     print(event.when, event.what, event.version, event.who, event.why)
"""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memefly.operations import runs
from memefly.serving import promotion


@dataclass(frozen=True)
class Event:
    when: str  # ISO 8601, UTC
    what: str  # pushed | promote | rollback
    version: int | None
    label: str = ""
    before: int | None = None  # the version that the label was on
    who: str = ""  # for what is pushed, the run
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read(root: str | Path) -> list[Event]:
    """The oldest first. Raises `UsageError` where ROOT is none, `PromotionError` where its history cannot be read."""
    pushes = [
        Event(_ended(run), "pushed", run.version, who=run.run_id)
        for run in runs.read(root)
        if run.version is not None and _did_push(run)
    ]
    moves = [Event(m.when, m.action, m.version, m.label, m.before, m.who, m.why) for m in promotion.history(root)]
    return sorted([*pushes, *moves], key=lambda event: datetime.datetime.fromisoformat(event.when))


def _did_push(run: runs.Run) -> bool:
    """Whether it was this one: a run whose pusher came from the cache names the version too."""
    return any(one["name"] == "VersionPusher" and one["state"] == "ran" for one in run.summary.get("components", []))


def _ended(run: runs.Run) -> str:
    started = datetime.datetime.fromisoformat(run.started)
    return (started + datetime.timedelta(seconds=run.seconds or 0)).isoformat(timespec="seconds")
