"""What a node did and left behind, as ML Metadata and its artifacts have it, into the run's summary.

>>> state, outputs = outcome(connection, launched, places)
>>> collect("Evaluator", state, outputs, summary, home)
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from components.caption_example_gen import executor as example_gen
from components.caption_metrics import evaluation as evaluations
from components.caption_metrics.names import BASELINE
from components.caption_trainer.training import CHECKPOINTS, HISTORY
from components.example_validator import executor as validator
from components.places import Places, rewrite
from components.serving_validator.executor import REASON
from components.tracking.executor import GALLERY
from memefly import storage
from memefly.operations import records
from memefly.storage import Place
from pipeline.summary import RunSummary

_STATES = {
    metadata_store_pb2.Execution.COMPLETE: "ran",
    metadata_store_pb2.Execution.CACHED: "cached",
    metadata_store_pb2.Execution.FAILED: "failed",
}


def outcome(connection, info, places: Places) -> tuple[str, dict[str, list]]:
    """State of an execution and its output artifacts, by key, with the paths that they have now."""
    if info is None or not info.execution_id:
        return "ran", {}
    with metadata.Metadata(connection) as handle:
        (execution,) = handle.store.get_executions_by_id([info.execution_id])
        events = handle.store.get_events_by_execution_ids([info.execution_id])
        output = metadata_store_pb2.Event.OUTPUT
        keys = {event.artifact_id: event.path.steps[0].key for event in events if event.type == output}
        artifacts: dict[str, list] = {}
        for artifact in handle.store.get_artifacts_by_id(list(keys)):
            rewrite(artifact, places.absolute)
            artifacts.setdefault(keys[artifact.id], []).append(artifact)
    return _STATES.get(execution.last_known_state, "failed"), artifacts


def collect(name: str, state: str, outputs: dict[str, list], summary: RunSummary, home: Path) -> None:
    """Takes from a node's outputs what the summary tells."""

    def of(key: str, prop: str):
        value = outputs[key][0].custom_properties.get(prop)
        return getattr(value, value.WhichOneof("value")) if value is not None else None

    if name == "CaptionExampleGen":
        quarantine = storage.at(outputs["quarantine"][0].uri)
        summary.data |= json.loads((quarantine / example_gen.SUMMARY).read_text(encoding="utf-8"))
        run = home / "runs" / summary.run_id
        storage.copy(quarantine / example_gen.QUARANTINE, run / example_gen.QUARANTINE)
    elif name == "StatisticsGen":
        summary.data["statistics"] = _statistics(storage.at(outputs["statistics"][0].uri))
    elif name == "StrictExampleValidator":
        path = storage.at(outputs["anomalies"][0].uri) / validator.DRIFT
        if path.is_file():
            summary.data["drift"] = json.loads(path.read_text(encoding="utf-8"))
    elif name == "ImageFeatures":
        computed, reused = int(of("features", "computed")), int(of("features", "reused"))
        if state == "cached":
            computed, reused = 0, computed + reused
        summary.features = {"computed": computed, "reused": reused}
    elif name == "Trainer":
        trained = storage.at(outputs["model_run"][0].uri)
        storage.copy(trained / HISTORY, home / "runs" / summary.run_id / HISTORY)
        _forget(home / "checkpoints", trained / CHECKPOINTS)
    elif name == "Tracking":
        shown = storage.at(outputs["gallery"][0].uri) / GALLERY
        storage.copy(shown, home / "runs" / summary.run_id / GALLERY)
    elif name == "Evaluator":
        folder = outputs["evaluation"][0].uri
        summary.metrics = evaluations.read_metrics(folder)
        summary.intervals = evaluations.read_intervals(folder)
        summary.baseline = evaluations.read_metrics(folder, BASELINE) or None
        summary.changes = evaluations.read_changes(folder)
        summary.slices = evaluations.read_slices(folder)
        decisions = evaluations.read_decisions(folder)
        summary.decisions = [asdict(decision) for decision in decisions]
        summary.gate += [decision.reason for decision in decisions if not decision.passed]
        # ServingValidator may have come before, and what it refused stays refused.
        summary.blessed = of("blessing", "blessed") == 1 and not summary.gate
    elif name == "ServingValidator":
        if of("blessing", "blessed") != 1:
            summary.blessed = False
            summary.gate.append(f"serving: {of('blessing', REASON)}")
    elif name == "VersionPusher" and of("pushed_model", "pushed") == 1:
        summary.pushed = of("pushed_model", "pushed_destination")


def collect_data(run_id: str, summary: RunSummary, home: Path, places: Places) -> None:
    """What an earlier run, on which a part of the pipeline goes on, knows of the data."""
    nodes = records.read(home, run_id)
    for name in ("CaptionExampleGen", "StatisticsGen", "StrictExampleValidator"):
        outputs = nodes[name].outputs if name in nodes else {}
        there = {key: [SimpleNamespace(uri=places.absolute(uri)) for uri in uris] for key, uris in outputs.items()}
        if there and all(storage.at(one.uri).exists() for ones in there.values() for one in ones):
            collect(name, "cached", there, summary, home)


def _forget(checkpoints: Path, named: Place) -> None:
    """Removes the checkpoints of a training whose model is an artifact now. Another that was stopped keeps its own."""
    if named.is_file():
        shutil.rmtree(checkpoints / named.read_text(encoding="utf-8"), ignore_errors=True)
    with contextlib.suppress(OSError):
        checkpoints.rmdir()  # where it is empty


def _statistics(folder: Place) -> dict[str, dict]:
    """By split, what TFDV counted: captions a picture, different captions, the commonest of them, and groups."""
    found = {}
    for path in sorted(folder.glob("Split-*/FeatureStats.pb")):
        dataset = tfdv.load_stats_binary(str(path)).datasets[0]
        if not dataset.num_examples:  # which the validator says better
            continue
        by_name = {feature.path.step[0]: feature for feature in dataset.features}
        captions, group = by_name["captions"].string_stats, by_name["group"].string_stats
        values = captions.common_stats
        found[path.parent.name.removeprefix("Split-")] = {
            "captions_per_picture": [int(values.min_num_values), values.avg_num_values, int(values.max_num_values)],
            "different_captions": int(captions.unique),
            "characters": captions.avg_length,
            "commonest": [[top.value, int(top.frequency)] for top in captions.top_values[:5]],
            "groups": 0 if group.unique == 1 and not group.top_values[0].value else int(group.unique),
        }
    return found
