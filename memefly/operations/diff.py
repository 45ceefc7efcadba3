"""How two runs of a ROOT differ: in what they were given, in what came of it, and why a node of the second ran.

    >>> found = compare("root", runs.find("root", "20261126"), runs.find("root", "latest"))
    >>> found.configuration
    [Change('training.learning_rate', '0.001', '0.0004')]
    >>> found.metrics["bleu4"].interval
    Interval(low=-0.003, high=0.021)

Scores of the same pictures are compared by the paired bootstrap (`memefly.metrics.corpus.compare`), of what both models
said then: no model is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from memefly import textfile
from memefly.metrics.corpus import Corpus, Difference, Interval
from memefly.metrics.corpus import compare as compare_captions
from memefly.operations import records
from memefly.operations.records import Node, flat
from memefly.operations.runs import Run


class Change(NamedTuple):
    """`before` and `after` are None where there is nothing by that name."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Score:
    before: float
    after: float
    interval: Interval | None = None  # of the difference, at 95 %; None where both did not judge the same pictures

    @property
    def difference(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Told:
    """A node in both runs."""

    before: str  # ran | cached | failed | skipped
    after: str
    why: str  # it ran, or did not


@dataclass(frozen=True)
class Diff:
    before: Run
    after: Run
    configuration: list[Change] | None  # None where a run of an older memefly did not keep it
    data: list[Change] = field(default_factory=list)
    code: list[Change] = field(default_factory=list)
    metrics: dict[str, Score] = field(default_factory=dict)
    nodes: dict[str, Told] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        told = asdict(self) | {"before": self.before.run_id, "after": self.after.run_id}
        changes = {"configuration": self.configuration, "data": self.data, "code": self.code}
        return told | {
            name: None if rows is None else [row._asdict() for row in rows] for name, rows in changes.items()
        }


def compare(root: str | Path, before: Run, after: Run) -> Diff:
    """Raises `UsageError` where ML Metadata cannot be read."""
    nodes = [records.read(root, run.run_id) for run in (before, after)]
    kept = [run.summary.get("configuration") for run in (before, after)]
    return Diff(
        before, after,
        _changes(*map(flat, kept)) if all(kept) else None,
        _changes_of_data(before, after, *nodes),
        _changes(_code(before), _code(after)),
        _metrics(root, before, after, *nodes),
        {name: _told(name, before, after, *nodes) for name in _names(before, after)},
    )  # fmt: skip


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    names = [*before, *(name for name in after if name not in before)]
    return [Change(n, before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)]


def _data(run: Run, nodes: Mapping[str, Node]) -> dict[str, str]:
    said = run.summary.get("data", {})
    counts = {
        name: said[name] for name in ("images", "captions", "quarantined", "quarantined_captions") if name in said
    }
    steps = said.get("cleaning", [])
    cleaning = {f"{row['step']}.{what}": row[what] for row in steps for what in ("changed", "dropped") if row[what]}
    told = flat({**counts, "splits": said.get("splits", {}), "cleaning": cleaning})
    generator = nodes.get("CaptionExampleGen")  # gone where ML Metadata began afresh since
    return {"digest": generator.properties.get("fingerprint", "") if generator else "unknown"} | told if told else {}


def _changes_of_data(before: Run, after: Run, *nodes: Mapping[str, Node]) -> list[Change]:
    """None where both had the same Examples: of a run that went on from another's, nothing is counted again."""
    examples = [one["CaptionExampleGen"].outputs if "CaptionExampleGen" in one else None for one in nodes]
    if examples[0] and examples[0] == examples[1]:
        return []
    told = _data(before, nodes[0]), _data(after, nodes[1])
    if all(told) or not any(examples):
        return _changes(*told)
    places = [", ".join((one or {}).get("examples", ())) for one in examples]
    return [Change("examples", places[0], places[1])]


def _code(run: Run) -> dict[str, str]:
    return {
        "commit": run.git[:12] + "+" * run.git.endswith("+"),
        **flat(run.summary.get("encoder", {}), "encoder"),
        **run.summary.get("versions", {}),
    }


def _metrics(
    root: str | Path, before: Run, after: Run, ours: Mapping[str, Node], theirs: Mapping[str, Node]
) -> dict[str, Score]:
    intervals: dict[str, Difference] = {}
    said = [_captions(Path(root), nodes.get("Evaluator")) for nodes in (ours, theirs)]
    same = [name for name in said[0] if name in said[1] and said[0][name][0] == said[1][name][0]]
    same.sort(key=lambda name: said[0][name][0])  # as the gate has them, whose draws these are then
    if len(same) > 1 and len(same) == len(said[0]) == len(said[1]):
        references = [said[0][name][0] for name in same]
        corpora = [Corpus.of(references, [one[name][1] for name in same]) for one in (said[1], said[0])]
        intervals = compare_captions(corpora[0], corpora[1])
    return {
        name: Score(value, after.metrics[name], _interval(intervals.get(name)))
        for name, value in before.metrics.items()
        if name in after.metrics
    }


def _interval(difference: Difference | None) -> Interval | None:
    return Interval(difference.low, difference.high) if difference else None


def _captions(root: Path, evaluator: Node | None) -> dict[str, tuple[list[list[str]], list[str]]]:
    """References and caption of each picture that a run judged; of memes, whose pictures are judged by many captions,
    by the first one."""
    found = {}
    for uri in evaluator.outputs.get("evaluation", ()) if evaluator else ():
        folder = root / uri.removeprefix("root://")
        for path in sorted(folder.glob("captions-*.jsonl")):
            for line in filter(str.strip, textfile.lines(textfile.read(path))):
                one = json.loads(line)
                found[one["image_id"]] = ([text.split() for text in one["references"]], one["caption"].split())
    return found


def _names(before: Run, after: Run) -> list[str]:
    names = [one["name"] for run in (after, before) for one in run.summary.get("components", [])]
    return list(dict.fromkeys(names))


def _told(name: str, before: Run, after: Run, ours: Mapping[str, Node], theirs: Mapping[str, Node]) -> Told:
    states = []
    for run, nodes in ((before, ours), (after, theirs)):
        of_summary = {one["name"]: one["state"] for one in run.summary.get("components", [])}
        states.append(of_summary.get(name) or (nodes[name].state if name in nodes else "skipped"))
    return Told(states[0], states[1], _why(states[1], ours.get(name), theirs.get(name)))


def _why(state: str, before: Node | None, after: Node | None) -> str:
    if state == "cached":
        return "the cache had it: a run before was given the same"
    if state == "skipped" or after is None:
        return ""
    if before is None:
        return "the other run did not have it"
    reasons = []
    if given := [key for key in after.inputs if after.inputs[key] != before.inputs.get(key)]:
        reasons.append(f"other {', '.join(given)}")
    changed = _changes(before.properties, after.properties)
    reasons += [
        "its code" if name == "code" or name.endswith(".code") else f"{name} {_short(old)} -> {_short(new)}"
        for name, old, new in changed[:5]
    ]
    if len(changed) > 5:
        reasons.append(f"{len(changed) - 5} more")
    return "; ".join(reasons) or "it was given the same, and runs whenever it is asked, or its files were gone"


def _short(value: str | None, most: int = 40) -> str:
    if value is None:
        return "nothing"
    return value if len(value) <= most else value[: most - 1] + "…"


def describe(found: Diff) -> list[str]:
    """For people."""
    lines = [f"{found.before.run_id} ({found.before.state}) -> {found.after.run_id} ({found.after.state})"]
    sections = {"configuration": found.configuration, "data": found.data, "code": found.code}
    for title, changes in sections.items():
        if changes is None:
            lines.append(f"{title}: not kept by a run of an older memefly")
        else:
            lines.append(f"{title}:" if changes else f"{title}: the same")
            lines += [f"  {one.name:<34} {_short(one.before)} -> {_short(one.after)}" for one in changes]
    shown = {name: one for name, one in found.metrics.items() if abs(one.difference) >= 5e-5}
    lines.append("metrics on eval:" if shown else "metrics on eval: none that both have, or the same")
    for name, one in shown.items():
        ends = f"  [{one.interval.low:+.4f}, {one.interval.high:+.4f}] at 95 %, paired" if one.interval else ""
        lines.append(f"  {name:<34} {one.before:.4f} -> {one.after:.4f}  {one.difference:+.4f}{ends}")
    lines.append("nodes:")
    for name, told in found.nodes.items():
        lines.append(f"  {name:<24} {told.before:>7} -> {told.after:<7}  {told.why}".rstrip())
    return lines
