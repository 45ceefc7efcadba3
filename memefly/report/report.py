"""The HTML report of a run: one file, no network.

>>> write(Path("root/runs/latest"))          # reads summary.json and gallery.json, writes report.html
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jinja2

from memefly.errors import UsageError
from memefly.metrics.titles import TITLES
from memefly.report import plots

SUMMARY, GALLERY, HISTORY, QUARANTINE = "summary.json", "gallery.json", "history.json", "quarantine.jsonl"
REPORT = "report.html"
_QUARANTINED = 100  # shown at most
# What a summary lacks where a run ended early, or was of an older memefly.
_EMPTY: dict[str, Any] = {"intervals": {}, "changes": {}, "slices": [], "decisions": []}
_EMPTY_DATA: dict[str, Any] = {
    "splits": {},
    "statistics": {},
    "quarantined": 0,
    "quarantined_captions": 0,
    "cleaning": [],
    "drift": [],
}


def write(run: Path) -> Path:
    """Writes `report.html` into the folder of a run. Raises `UsageError` where that holds no run."""
    try:
        summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{run} holds no run: {SUMMARY} is missing; expected ROOT/runs/<run_id>") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{run / SUMMARY} cannot be read: {error}") from None
    summary = _EMPTY | summary
    summary["data"] = summary["data"] and _EMPTY_DATA | summary["data"]
    gallery = _optional(run / GALLERY, {"constant_caption": None, "pictures": []})
    if any("tags" not in picture for picture in gallery["pictures"]):  # of an older memefly
        gallery["pictures"] = []
    history = _optional(run / HISTORY, [])
    shown = gallery["pictures"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["metric"] = lambda v: f"{v:.0f}" if v >= 2 and v == int(v) else f"{v:.4f}"
    environment.filters["score"] = lambda v: "" if v is None else environment.filters["metric"](v)
    html = environment.get_template("report.html").render(
        run=summary,
        gallery=gallery,
        history=history,
        curves=plots.curves(history),
        names=TITLES,
        distinct=len({picture["caption"] for picture in shown}),
        tags={tag for picture in shown for tag in picture["tags"]},
        looks=any(picture["attention"] for picture in shown),
        placed=any("place" in picture for picture in shown),
        validated=any(
            node["name"] == "StrictExampleValidator" and node["state"] in ("ran", "cached")
            for node in summary["components"]
        ),
        drawn=[plots.distributions(row["here"], row["there"], ("train", row["against"])) for row in _drift(summary)],
        quarantine=_lines(run / QUARANTINE, _QUARANTINED),
    )
    path = run / REPORT
    path.write_text(html, encoding="utf-8")
    return path


def _drift(summary: dict) -> list[dict]:
    return summary["data"]["drift"] if summary["data"] else []


def _optional(path: Path, default):
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def _lines(path: Path, most: int) -> list[dict]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in itertools.islice(lines, most)]
