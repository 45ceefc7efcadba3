"""Where a model comes from: data, code, configuration, what judged it and who made it live; from ML Metadata, the run's
summary and the model's `memefly.json`.

    >>> found = read("root", "latest")
    >>> found.data["digest"], found.nodes["Transform"].made_in
    ('19a271e1…', '20261127-211825')
    >>> print(mermaid(found))                               # a drawing (https://mermaid.js.org)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memefly import layout
from memefly.errors import UsageError
from memefly.exported.manifest import read_manifest, versions
from memefly.operations import history, records, runs
from memefly.operations.history import Event
from memefly.operations.records import Node
from memefly.serving import promotion


@dataclass(frozen=True)
class Lineage:
    version: int
    digest: str  # of weights and vocabulary
    run: str  # that pushed it
    commit: str
    versions: dict[str, str]  # of the libraries
    configuration: dict[str, Any]  # whole where the run kept it, else what the model's own file has of it
    data: dict[str, Any]  # digest, images, captions, splits, and what cleaning did
    encoder: dict[str, Any]
    vocabulary: dict[str, Any]
    metrics: dict[str, float]
    baseline: int | None  # the version that was live when it was judged
    gate: list[dict[str, Any]]  # every rule, and what came of it
    moves: list[Event]  # of labels, to it or from it
    labels: list[str]  # that are on it now
    nodes: dict[str, Node]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read(root: str | Path, version: str) -> Lineage:
    """`version`: a number, `latest`, or a label. Raises `UsageError` where there is no such version, and `ModelError`
    where it is no whole model."""
    folder = layout.of(root).versions
    there = {int(path.name): path for path in versions(folder)} if folder.is_dir() else {}
    labels = promotion.labels(root)
    number = labels.get(version) or (max(there, default=None) if version == runs.LATEST else None)
    if number is None and version.isdecimal():
        number = int(version)
    if number not in there:
        said = ", ".join(map(str, sorted(there))) or "none"
        raise UsageError(
            f"no version {version!r} in {folder}; there are: {said}; or a label ({', '.join(promotion.LABELS)})"
        )
    manifest = read_manifest(there[number])
    found = runs.read(root)
    run = next((one for one in reversed(found) if one.version == number), None)
    nodes = records.read(root, run.run_id) if run else {}
    data, summary = _data(found, nodes), run.summary if run else {}
    return Lineage(
        version=number, digest=manifest.get("digest", ""), run=run.run_id if run else "",
        commit=manifest.get("git", ""), versions=manifest.get("versions", {}),
        configuration=summary.get("configuration") or manifest.get("config", {}), data=data,
        encoder=manifest.get("encoder", {}), vocabulary=manifest.get("vocabulary", {}),
        metrics=manifest.get("metrics", {}).get("eval", {}), baseline=_baseline(found, nodes),
        gate=summary.get("decisions", []),
        moves=[e for e in history.read(root) if e.label and number in (e.version, e.before)],
        labels=sorted(label for label, on in labels.items() if on == number), nodes=nodes,
    )  # fmt: skip


def _data(found: list[runs.Run], nodes: dict[str, Node]) -> dict[str, Any]:
    generator = nodes.get("CaptionExampleGen")
    if generator is None:
        return {}
    counted = next((run for run in found if run.run_id == generator.made_in), None)
    said = counted.summary.get("data", {}) if counted else {}
    told = {name: said[name] for name in ("images", "captions", "quarantined", "splits") if name in said}
    cleaning = [row for row in said.get("cleaning", []) if row["changed"] or row["dropped"]]
    of_steps = {row["step"]: {"changed": row["changed"], "dropped": row["dropped"]} for row in cleaning}
    digests = said.get("digests", {})  # of contents; the fingerprint knows files by their times
    digest = digests.get("examples") or generator.properties.get("fingerprint", "")
    return {"digest": digest, "raw": digests.get("raw", ""), **told, "cleaning": of_steps}


def _baseline(found: list[runs.Run], nodes: dict[str, Node]) -> int | None:
    """The version of the model that the Evaluator was given beside: what an earlier run made."""
    made_in = nodes["Evaluator"].given_of.get("baseline_model") if "Evaluator" in nodes else None
    return next((one.version for one in found if made_in and one.run_id == made_in), None)


def describe(found: Lineage) -> list[str]:
    """For people."""
    data, splits = found.data, found.data.get("splits", {})
    parts = ", ".join(f"{name} {part['images']:,}" for name, part in splits.items())
    lines = [
        f"version     {found.version}{' (' + ', '.join(found.labels) + ')' if found.labels else ''}",
        f"digest      {found.digest}",
        f"run         {found.run or 'not one of this root'}",
        f"commit      {found.commit or 'unknown'}",
        f"data        {data.get('digest', 'unknown')}",
    ]
    if "images" in data:
        lines.append(f"            {data['images']:,} pictures, {data['captions']:,} captions: {parts}")
    lines += [
        f"            {step}: {did['changed']} changed, {did['dropped']} dropped"
        for step, did in data.get("cleaning", {}).items()
    ]
    lines += [
        f"encoder     {found.encoder.get('name')} {found.encoder.get('digest', '')}",
        f"vocabulary  {found.vocabulary.get('size')} words, {found.vocabulary.get('sha256', '')}",
        f"metrics     {', '.join(f'{name} {found.metrics[name]:.4f}' for name in _TOLD if name in found.metrics)}",
        f"baseline    {found.baseline or 'none: it was the first'}",
    ]
    for rule in found.gate:
        lines.append(f"gate        {'held' if rule['passed'] else 'BROKEN'}: {rule['reason']}")
    for event in found.moves:
        to = f"on {event.version}" if event.version == found.version else f"on to {event.version}"
        why = f": {event.why}" if event.why else ""
        lines.append(f"{event.what:<11} {event.when[:19]} {event.label} {to}, by {event.who}{why}")
    lines += [f"node        {name:<24} made in {node.made_in}" for name, node in found.nodes.items() if node.made_in]
    return lines


_TOLD = ("bleu4", "cider", "bits_a_character")


def mermaid(found: Lineage) -> str:
    """A flowchart of what was made of what; artifacts that an earlier run made say so."""
    made_by: dict[int, str] = {}
    lines = ["flowchart LR", f'  data[("data<br/>{found.data.get("digest", "")[:12]}")] --> CaptionExampleGen']
    for name, node in found.nodes.items():
        earlier = f"<br/>of {node.made_in}" if node.made_in and node.made_in != found.run else ""
        lines.append(f'  {name}["{name}{earlier}"]')
        made_by |= dict.fromkeys(node.made, name)
    for name, node in found.nodes.items():
        givers = {made_by[one] for ids in node.inputs.values() for one in ids if one in made_by}
        lines += [f"  {giver} --> {name}" for giver in sorted(givers)]
    lines.append(f'  VersionPusher --> version(["version {found.version}<br/>{found.digest[:12]}"])')
    lines += [f'  version --> {label}{{{{"{label}"}}}}' for label in found.labels]
    return "\n".join(lines)
