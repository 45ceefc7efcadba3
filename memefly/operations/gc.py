"""What in a ROOT nobody needs any more: artifacts of runs that came to nothing, features that no data has, checkpoints
of trainings that nobody took up again, runs that W&B has. First said, then deleted.

    >>> found = plan("root", keep=3, days=7)
    >>> sum(one.bytes for one in found.waste)
    15032385536
    >>> collect("root", found)

Kept are the runs in `found.kept`, each with why, and all that they made or had from the cache: those of versions that
have a label, or would have it again by a rollback, of the two newest blessed models (the live one, and what that one is
measured against when it runs again), of the newest that was blessed, of trials of sweeps, and the newest `keep`. Pushed
versions, summaries and reports are kept altogether, and so is what is not known here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memefly import layout, metadata_store, storage
from memefly.encoders.feature_store import FeatureStore
from memefly.layout import Layout
from memefly.operations import records, runs
from memefly.serving import promotion
from memefly.storage import Place
from memefly.tracking.run import CUT

_DAY = 86400.0


@dataclass(frozen=True)
class Waste:
    kind: str  # artifacts | features | checkpoints | wandb | leftovers
    path: str  # under ROOT
    bytes: int
    why: str


@dataclass
class Plan:
    waste: list[Waste] = field(default_factory=list)
    kept: dict[str, list[str]] = field(default_factory=dict)  # runs, and why
    unsure: list[str] = field(default_factory=list)  # what was left alone, and why

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(root: str | Path, keep: int = 3, days: float = 7.0) -> Plan:
    """What could be deleted: artifacts of all runs but those that are kept, of which the newest `keep`; checkpoints,
    leftovers and W&B's runs that were not touched for `days`. Raises `UsageError` where ROOT is none, or where its ML
    Metadata cannot be read: nobody would know then what is needed."""
    root, found = Path(root).resolve(), Plan()
    every = runs.read(root)
    nodes = {run.run_id: records.read(root, run.run_id) for run in every}
    old = time.time() - days * _DAY
    found.kept = _kept(root, every, nodes, keep, old)
    uris = {
        uri
        for run in found.kept
        for node in nodes.get(run, {}).values()
        for held in node.outputs.values()
        for uri in held
    }
    known = {
        uri for of_run in nodes.values() for node in of_run.values() for held in node.outputs.values() for uri in held
    }
    found.waste += _artifacts(root, known, uris, found)
    found.waste += _features(layout.of(root), uris, [run for run in every if run.run_id in found.kept], found)
    found.waste += _checkpoints(root, old, days)
    found.waste += _of_wandb(root, old, days)
    found.waste += _leftovers(root, old)
    return found


def collect(root: str | Path, found: Plan) -> None:
    """Deletes it. ML Metadata is told first: what a kill leaves of an artifact counts as gone. Nothing else may be at
    work in ROOT."""
    root, places = Path(root).resolve(), layout.of(Path(root).resolve())
    artifacts = {f"root://{one.path}" for one in found.waste if one.kind == "artifacts"}
    if artifacts and metadata_store.is_there(root):
        with metadata_store.opened(root, writes=True) as (store, protos):
            gone = [one for one in store.get_artifacts() if one.uri in artifacts]
            for one in gone:
                one.state = protos.Artifact.DELETED
            if gone:
                store.put_artifacts(gone)
    entries: dict[str, list[str]] = {}  # of features, by encoder
    for one in found.waste:
        if one.kind == "features" and one.path.count("/") == 2:
            _, encoder, key = one.path.split("/")
            entries.setdefault(encoder, []).append(key)
        else:
            storage.remove_tree(places.under(one.path))
    for encoder, keys in entries.items():
        FeatureStore(places.features, encoder).discard(keys)


def _kept(root: Path, every: list[runs.Run], nodes: dict[str, dict], keep: int, old: float) -> dict[str, list[str]]:
    kept: dict[str, list[str]] = {}

    def because(run: str, why: str) -> None:
        if why not in kept.setdefault(run, []):
            kept[run].append(why)

    for run in every[:keep]:
        because(run.run_id, f"one of the newest {keep}")
    for run in every:
        if run.state == "running":
            because(run.run_id, "at work")
    for path in sorted(root.glob("sweeps/*/trials.jsonl")):
        if path.stat().st_mtime >= old:  # whose best model has only to be judged
            for line in path.read_text(encoding="utf-8").splitlines():
                because(json.loads(line).get("run_id") or "", f"a trial of the sweep {path.parent.name}")
    blessed = [run for run in every if run.state in ("pushed", "blessed")]
    models: dict[str, str] = {}  # the run of each blessed model, the newest first
    for run in blessed:
        for uri in nodes[run.run_id]["Trainer"].outputs.get("model", ()) if "Trainer" in nodes[run.run_id] else ():
            models.setdefault(uri, run.run_id)
    if blessed:
        because(blessed[0].run_id, "the newest that was blessed")
    measured = ("its model is what the next is measured against", "the model before that")
    for run_id, why in zip(models.values(), measured):
        because(run_id, why)
    for label, version in _served(root):
        for run in every:
            if run.version == version:
                because(run.run_id, label)
    return {run.run_id: kept[run.run_id] for run in every if run.run_id in kept}


def _served(root: Path) -> Iterator[tuple[str, int]]:
    for label, version in sorted(promotion.labels(root).items()):
        yield f"{label} is on its version", version
        if (before := promotion.came_from(root, label)) is not None:
            yield f"{label} would be rolled back to its version", before


def _artifacts(root: Path, known: set[str], kept: set[str], found: Plan) -> Iterator[Waste]:
    artifacts = layout.of(root).artifacts
    for folder in sorted(artifacts.glob("*/*/*")):
        name = f"artifacts/{folder.relative_to(artifacts).as_posix()}"
        uri = f"root://{name}"
        if ".system" in folder.parts or uri in kept:
            continue
        if uri in known:
            yield Waste("artifacts", name, _size(folder), "of runs that are not kept")
        else:
            found.unsure.append(f"{name}: no run is known that made it")
    for folder in sorted(root.glob("artifacts.unknown*")):
        yield Waste("leftovers", folder.name, _size(folder), "from before ML Metadata began afresh")


def _features(places: Layout, kept: set[str], runs_: list[runs.Run], found: Plan) -> Iterator[Waste]:
    """Of encoders that no kept run used, and of pictures that no Examples of one have."""
    store = places.features
    if store.is_symlink() or places.root not in store.parents:
        what = "a link" if store.is_symlink() else f"in {store}"
        found.unsure.append(f"features: {what}, others may use what is there")
        return
    if not store.is_dir():
        return
    encoders = {str(run.summary.get("encoder", {}).get("digest", ""))[:16] for run in runs_} - {""}
    folders = [places.under(uri) for uri in sorted(kept) if "/CaptionExampleGen/examples/" in uri]
    if not encoders or not any(folder.is_dir() for folder in folders):
        found.unsure.append("features: no kept run says which it needs")
        return
    pictures = _pictures(folders)
    for folder in sorted(path for path in store.iterdir() if path.is_dir()):
        if folder.name not in encoders:
            yield Waste("features", f"features/{folder.name}", _size(folder), "of an encoder that no run uses")
            continue
        of_encoder = FeatureStore(store, folder.name)
        keys = list(of_encoder.keys())
        bytes_ = of_encoder.size() // max(1, len(keys))  # all have the same shape
        for key in keys:
            if key[:64] not in pictures:
                yield Waste(
                    "features", f"features/{folder.name}/{key}", bytes_, "of a picture that no kept Examples have"
                )


def _pictures(folders: list[Place]) -> set[str]:
    from memefly.datasets.examples import read

    return {
        feature["image_id"].bytes_list.value[0].decode()
        for folder in folders
        for split in sorted(folder.glob("Split-*"))
        for feature in read(split)
    }


def _checkpoints(root: Path, old: float, days: float) -> Iterator[Waste]:
    for folder in sorted(path for path in (root / "checkpoints").glob("*") if path.is_dir()):
        if _touched(folder) < old:
            why = f"of a training that nobody took up again for {days:g} days"
            yield Waste("checkpoints", folder.relative_to(root).as_posix(), _size(folder), why)


def _of_wandb(root: Path, old: float, days: float) -> Iterator[Waste]:
    """Runs that the server has, and what was staged for runs that are all sent."""
    folders = [path for path in (root / "wandb").glob("*run-*") if path.is_dir() and not path.is_symlink()]
    waiting = False
    for folder in sorted(folders):
        ended = not folder.name.startswith("offline-") and (folder / "files" / "wandb-summary.json").exists()
        sent = list(folder.glob("*.synced")) or (ended and not (folder / CUT).exists())
        waiting = waiting or not sent
        if sent and _touched(folder) < old:
            yield Waste("wandb", folder.relative_to(root).as_posix(), _size(folder), f"W&B has it, for {days:g} days")
    staged = root / "wandb" / "artifacts"
    if staged.is_dir() and not waiting and _touched(staged) < old:
        yield Waste("wandb", staged.relative_to(root).as_posix(), _size(staged), "W&B has all that it was staged for")


def _leftovers(root: Path, old: float) -> Iterator[Waste]:
    """What a kill left behind, that nothing will come back to."""
    for pattern in ("serving/.pushing-*", "features/*/*/.partial-*", "runs/.log-*", "sweeps/.log-*"):
        for path in sorted(root.glob(pattern)):
            if path.lstat().st_mtime < old:
                yield Waste("leftovers", path.relative_to(root).as_posix(), _size(path), "a kill left it behind")


def _size(path: Place) -> int:
    if isinstance(path, storage.Remote):
        return sum(storage.sizes(path).values())
    if not path.is_dir():
        return path.lstat().st_size
    return sum(one.lstat().st_size for one in path.rglob("*") if one.is_file())


def _touched(folder: Path) -> float:
    return max((one.lstat().st_mtime for one in (folder, *folder.rglob("*"))), default=0.0)


def describe(found: Plan) -> list[str]:
    """For people."""
    lines = [f"keeps run {run}: {'; '.join(why)}" for run, why in found.kept.items()]
    by_kind: dict[tuple[str, str], list[Waste]] = {}
    for one in found.waste:
        by_kind.setdefault((one.kind, one.why), []).append(one)
    for (kind, why), ones in by_kind.items():
        lines.append(f"{kind}: {len(ones)}, {_megabytes(sum(one.bytes for one in ones))}, {why}")
        lines += [f"  {one.path}  {_megabytes(one.bytes)}" for one in ones[:10]]
        lines += [f"  … {len(ones) - 10} more"] if len(ones) > 10 else []
    lines += [f"left alone: {why}" for why in found.unsure]
    lines.append(f"in all: {_megabytes(sum(one.bytes for one in found.waste))}")
    return lines


def _megabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
