"""Runs a pipeline on this machine, node by node, and says what came of it.

    >>> summary = run(config, data="data/sample", root="root", on_event=print)
    >>> summary.blessed, summary.pushed

The loop is that of TFX's LocalDagRunner, opened up so that each node can be told of, timed, and seen to have run or
to have come from the cache.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils

from components.caption_example_gen import executor as example_gen
from components.caption_metrics import evaluation as evaluations
from components.caption_metrics.names import BASELINE
from components.caption_trainer.training import CHECKPOINTS, HISTORY
from components.serving_validator.executor import REASON
from components.tracking.executor import GALLERY
from memefly import encoders, provenance, report
from memefly.errors import MemeflyError, PipelineError, QuarantineError, UsageError, first_line
from pipeline import base_run
from pipeline.config import PipelineConfig
from pipeline.pipeline import create_pipeline

log = logging.getLogger("memefly.runner")

SUMMARY = "summary.json"
LATEST = "latest"
_STATES = {
    metadata_store_pb2.Execution.COMPLETE: "ran",
    metadata_store_pb2.Execution.CACHED: "cached",
    metadata_store_pb2.Execution.FAILED: "failed",
}


@dataclass
class RunSummary:
    """What a run did; `ROOT/runs/<run_id>/summary.json` holds the same."""

    run_id: str
    started: str
    seconds: float = 0.0
    components: list[dict] = field(default_factory=list)  # {name, state: ran|cached|failed|skipped, seconds}
    data: dict = field(default_factory=dict)  # {images, captions, quarantined, …}
    features: dict = field(default_factory=dict)  # {computed, reused}
    encoder: dict = field(default_factory=dict)  # {name, digest}
    metrics: dict = field(default_factory=dict)  # of the candidate, on eval
    intervals: dict = field(default_factory=dict)  # of those that have one, [low, high] at 95 %
    baseline: dict | None = None  # of the model it was measured against
    changes: dict = field(default_factory=dict)  # to that model: {value, low, high, p} by metric
    slices: list[dict] = field(default_factory=list)  # {by, value, pictures, metrics, intervals, baseline}
    blessed: bool = False
    decisions: list[dict] = field(default_factory=list)  # {rule, slice, metric, value, threshold, baseline, passed, …}
    gate: list[str] = field(default_factory=list)  # why not, where it was not
    pushed: str | None = None
    error: str | None = None
    versions: dict = field(default_factory=dict)
    git: str = ""

    @property
    def judged(self) -> bool:
        """Whether the run came as far as the gate."""
        return bool(self.metrics or self.gate)

    def as_dict(self) -> dict:
        return asdict(self)


def describe(summary: RunSummary, root: str | Path) -> list[str]:
    """What came of a run, for people."""
    folder = Path(root) / "runs" / summary.run_id
    lines = []
    if summary.metrics:
        live = f", live model {summary.baseline['bleu4']:.4f}" if summary.baseline else ""
        constant = f"best constant caption {summary.metrics['constant_bleu4']:.4f}"
        lines.append(f"BLEU-4 {summary.metrics['bleu4']:.4f} ({constant}{live})")
        if summary.changes:
            told = (
                f"{name} {summary.changes[metric]['value']:+.4f} [{summary.changes[metric]['low']:+.4f}, "
                f"{summary.changes[metric]['high']:+.4f}]"
                for metric, name in (("bleu4", "BLEU-4"), ("cider", "CIDEr"))
            )
            lines.append(f"to the live model, 95 %: {', '.join(told)}")
    if summary.pushed:
        lines.append(f"blessed; model:  {summary.pushed}")
    elif summary.judged and not summary.blessed:
        lines.append("NOT blessed, nothing pushed:")
        lines += [f"  - {reason}" for reason in summary.gate]
    lines.append(f"report:          {folder / report.REPORT}")
    lines.append(f"summary:         {folder / SUMMARY}")
    if summary.data.get("quarantined") or summary.data.get("quarantined_captions"):
        lines.append(f"quarantine:      {folder / example_gen.QUARANTINE} ({summary.data['quarantined']} records)")
    return lines


def run(
    config: PipelineConfig,
    data: str,
    root: str,
    *,
    from_node: str | None = None,
    to_node: str | None = None,
    on_event: Callable[[str, dict], None] = lambda name, values: None,
) -> RunSummary:
    """Runs the pipeline, or the part of it from one node to another on the artifacts of the latest run that has what it
    needs.

    `on_event` hears ("start", {run_id, folder}), ("node", {name, index, count}) before and ("done", {name, state,
    seconds}) after each node. Whatever happens, `ROOT/runs/<run_id>/summary.json` is written. Raises what a
    component of ours raised, or `PipelineError`.
    """
    home = Path(root).resolve()
    home.mkdir(parents=True, exist_ok=True)
    started = datetime.datetime.now(datetime.timezone.utc)
    summary = RunSummary(
        run_id=_run_id(home, started),
        started=started.isoformat(timespec="seconds"),
        encoder={"name": encoders.name(config.encoder), "digest": encoders.digest(config.encoder)},
        versions=provenance.versions(),
        git=provenance.git_commit(),
    )
    folder = home / "runs" / summary.run_id
    folder.mkdir(parents=True)
    on_event("start", {"run_id": summary.run_id, "folder": str(folder)})
    clock = time.monotonic()
    try:
        _run(config, str(Path(data).resolve()), home, summary, from_node, to_node, on_event)
    except QuarantineError as error:
        _write_lines(folder / example_gen.QUARANTINE, error.entries)
        summary.error = str(error)
        raise
    except Exception as error:
        summary.error = str(error) or type(error).__name__
        raise
    finally:
        summary.seconds = round(time.monotonic() - clock, 1)
        (folder / SUMMARY).write_text(json.dumps(summary.as_dict(), indent=2, ensure_ascii=False) + "\n", "utf-8")
        report.write(folder)
        _point(home / "runs" / LATEST, summary.run_id)
    return summary


def _run(config, data, home, summary: RunSummary, from_node, to_node, on_event) -> None:
    pipeline = compiler.Compiler().compile(create_pipeline(config, data, str(home)))
    runtime_parameter_utils.substitute_runtime_parameter(
        pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: summary.run_id}
    )
    nodes = [node.pipeline_node for node in pipeline.nodes]
    names = [node.node_info.id for node in nodes]
    for flag, name in (("--from", from_node), ("--to", to_node)):
        if name is not None and name not in names:
            raise UsageError(f"{flag} {name}: no such node; the nodes are {', '.join(names)}")
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    connection = getattr(
        deployment.metadata_connection_config, deployment.metadata_connection_config.WhichOneof("connection_config")
    )
    if from_node or to_node:
        try:
            partial_run_utils.mark_pipeline(
                pipeline, from_nodes=[from_node] if from_node else None, to_nodes=[to_node] if to_node else None
            )
        except ValueError as error:
            raise UsageError(f"this part of the pipeline cannot be run: {error}") from error
    base = _base(connection, pipeline) if from_node else None

    outputs: dict[str, dict] = {}
    for index, node in enumerate(nodes):
        name = node.node_info.id
        if node.execution_options.HasField("skip"):
            _done(summary, on_event, name, "skipped", 0.0)
            continue
        on_event("node", {"name": name, "index": index, "count": len(nodes)})
        clock = time.monotonic()
        try:
            if node.execution_options.run.perform_snapshot:
                with metadata.Metadata(connection) as handle:
                    partial_run_utils.snapshot(handle, pipeline, base)
            info = launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            ).launch()
        except Exception as error:
            _done(summary, on_event, name, "failed", time.monotonic() - clock)
            ours = _ours(error)
            if ours is not None:
                raise ours from None  # it is among the causes of `error`: another cause would close a circle
            raise PipelineError(name, f"{name} failed: {type(error).__name__}: {first_line(error)}") from error
        state, outputs[name] = _outcome(connection, info)
        _done(summary, on_event, name, state, time.monotonic() - clock)
        if state == "failed":  # of its inputs, which TFX logs and does not raise
            raise PipelineError(name, f"{name} has no inputs; run the pipeline from an earlier node")
        _collect(name, state, outputs[name], summary, home)


def _base(connection, pipeline) -> str | None:
    """The run that a part of the pipeline goes on from; told where it is not the latest."""
    with metadata.Metadata(connection) as handle:
        base = base_run.find(handle, pipeline)
    if base.passed_over:
        run_id, missing = next(iter(base.passed_over.items()))
        log.warning("going on from run %s: the latest, %s, has no %s", base.run_id, run_id, ", ".join(missing))
    return base.run_id


def _done(summary: RunSummary, on_event, name: str, state: str, seconds: float) -> None:
    entry = {"name": name, "state": state, "seconds": round(seconds, 1)}
    summary.components.append(entry)
    on_event("done", entry)


def _ours(error: BaseException | None) -> MemeflyError | None:
    """What a component of ours raised, wherever Beam and TFX have wrapped it."""
    while error is not None:
        if isinstance(error, MemeflyError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _outcome(connection, info) -> tuple[str, dict[str, list]]:
    """State of an execution and its output artifacts, by key, as ML Metadata has them."""
    if info is None or not info.execution_id:
        return "ran", {}
    with metadata.Metadata(connection) as handle:
        (execution,) = handle.store.get_executions_by_id([info.execution_id])
        events = handle.store.get_events_by_execution_ids([info.execution_id])
        output = metadata_store_pb2.Event.OUTPUT
        keys = {event.artifact_id: event.path.steps[0].key for event in events if event.type == output}
        artifacts: dict[str, list] = {}
        for artifact in handle.store.get_artifacts_by_id(list(keys)):
            artifacts.setdefault(keys[artifact.id], []).append(artifact)
    return _STATES.get(execution.last_known_state, "failed"), artifacts


def _collect(name: str, state: str, outputs: dict[str, list], summary: RunSummary, home: Path) -> None:
    """Takes from a node's outputs what the summary tells."""

    def of(key: str, prop: str):
        value = outputs[key][0].custom_properties.get(prop)
        return getattr(value, value.WhichOneof("value")) if value is not None else None

    if name == "CaptionExampleGen":
        quarantine = Path(outputs["quarantine"][0].uri)
        summary.data |= json.loads((quarantine / example_gen.SUMMARY).read_text(encoding="utf-8"))
        shutil.copy(quarantine / example_gen.QUARANTINE, home / "runs" / summary.run_id / example_gen.QUARANTINE)
    elif name == "StatisticsGen":
        summary.data["statistics"] = _statistics(Path(outputs["statistics"][0].uri))
    elif name == "ImageFeatures":
        computed, reused = int(of("features", "computed")), int(of("features", "reused"))
        if state == "cached":
            computed, reused = 0, computed + reused
        summary.features = {"computed": computed, "reused": reused}
    elif name == "Trainer":
        trained = Path(outputs["model_run"][0].uri)
        shutil.copy(trained / HISTORY, home / "runs" / summary.run_id)
        _forget(home / "checkpoints", trained / CHECKPOINTS)
    elif name == "Tracking":
        shutil.copy(Path(outputs["gallery"][0].uri) / GALLERY, home / "runs" / summary.run_id)
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


def _forget(checkpoints: Path, named: Path) -> None:
    """Removes the checkpoints of a training whose model is an artifact now. Another that was stopped keeps its own."""
    if named.is_file():
        shutil.rmtree(checkpoints / named.read_text(encoding="utf-8"), ignore_errors=True)
    with contextlib.suppress(OSError):
        checkpoints.rmdir()  # where it is empty


def _statistics(folder: Path) -> dict[str, dict]:
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


def _run_id(home: Path, started: datetime.datetime) -> str:
    base = run_id = started.strftime("%Y%m%d-%H%M%S")
    suffix = 1
    while (home / "runs" / run_id).exists():
        suffix += 1
        run_id = f"{base}-{suffix}"
    return run_id


def _point(link: Path, target: str) -> None:
    """Makes `link` a symbolic link to `target`, by one rename."""
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, link)


def _write_lines(path: Path, entries: list[dict]) -> None:
    path.write_text("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries), encoding="utf-8")
