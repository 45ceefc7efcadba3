"""Runs a pipeline on this machine, node by node, and says what came of it.

    >>> summary = run(config, data="data/sample", root="root", on_event=print)
    >>> summary.blessed, summary.pushed

The loop is that of TFX's LocalDagRunner, opened up so that each node can be told of, timed, and seen to have run or
to have come from the cache.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import executable_spec_pb2

from components.caption_example_gen import executor as example_gen
from components.places import Places, operators
from memefly import devices, encoders, layout, provenance, storage, textfile, tracking
from memefly.errors import (
    FeaturesError,
    MemeflyError,
    PipelineError,
    QuarantineError,
    UsageError,
    among_causes,
    first_line,
)
from memefly.operations import records
from memefly.operations.runs import LATEST, SUMMARY
from memefly.report import card, report
from pipeline import base_run, engine, lineage, outcomes, parts
from pipeline import root as known_root
from pipeline.config import PipelineConfig
from pipeline.parts import Part
from pipeline.pipeline import create_pipeline
from pipeline.summary import RunSummary

log = logging.getLogger("memefly.runner")

_TRACKED = {"CaptionExampleGen", "Transform", "Trainer", "Tracking"}  # with which runs of W&B are opened


def run(
    config: PipelineConfig,
    data: str,
    root: str,
    *,
    from_node: str | None = None,
    to_node: str | None = None,
    part: Part | None = None,
    on_event: Callable[[str, dict], None] = lambda name, values: None,
) -> RunSummary:
    """Runs the pipeline, or the part of it from one node to another on the artifacts of the latest run that has what it
    needs; a `part` with a name goes on only from what was made of the same data and configuration.

    `on_event` hears ("start", {run_id, folder}), ("node", {name, index, count}) before and ("done", {name, state,
    seconds}) after each node. Whatever happens, `ROOT/runs/<run_id>/summary.json` is written. Raises what a
    component of ours raised, or `PipelineError`.
    """
    home = Path(root).resolve()
    layout.settle(home, config.storage.model_dump())
    known_root.check(root)
    started = datetime.datetime.now(datetime.timezone.utc)
    summary = RunSummary(
        run_id=_run_id(home, started),
        started=started.isoformat(timespec="seconds"),
        encoder={"name": encoders.name(config.encoder), "digest": encoders.digest(config.encoder)},
        configuration=config.told(),
        versions=provenance.versions(),
        git=provenance.git_commit(),
    )
    folder = home / "runs" / summary.run_id
    folder.mkdir(parents=True)
    on_event("start", {"run_id": summary.run_id, "folder": str(folder)})
    clock = time.monotonic()
    try:
        devices.configure(config.devices)
        places = Places.of_root(home, data=storage.at(data).resolve())
        with places.open():
            ends = (part.from_nodes, part.to_nodes) if part else ((from_node,), (to_node,))
            from_nodes, to_nodes = (tuple(name for name in names if name) for names in ends)
            _run(config, data, home, places, summary, from_nodes, to_nodes, part, on_event)
            if any(one["name"] == "Tracking" and one["state"] == "ran" for one in summary.components):
                _write_report(folder, summary)  # which W&B is to have
                lineage.tell("evaluate", config, data, home, summary, places)
    except QuarantineError as error:
        _write_lines(folder / example_gen.QUARANTINE, error.entries)
        summary.error = str(error)
        raise
    except Exception as error:
        summary.error = str(error) or type(error).__name__
        raise
    finally:
        summary.seconds = round(time.monotonic() - clock, 1)
        _write_report(folder, summary)
        _point(home / "runs" / LATEST, summary.run_id)
    _write_card(folder, summary, config)
    return summary


def _write_card(folder: Path, summary: RunSummary, config: PipelineConfig) -> None:
    """Of the version that was pushed; also where a run before was killed between the one and the other."""
    if summary.pushed and not (storage.at(summary.pushed) / card.CARD).is_file():
        try:
            card.write(folder, summary.pushed, config.card)
        except (MemeflyError, OSError) as error:
            log.warning("no model card is written for %s: %s", summary.pushed, first_line(error))


def _write_report(folder: Path, summary: RunSummary) -> None:
    (folder / SUMMARY).write_text(textfile.to_json(summary.as_dict(), indent=2) + "\n", "utf-8")
    report.write(folder)


def _run(config, data, home, places: Places, summary: RunSummary, from_nodes, to_nodes, part, on_event) -> None:
    pipeline = compiler.Compiler().compile(create_pipeline(config, data, str(home)))
    runtime_parameter_utils.substitute_runtime_parameter(
        pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: summary.run_id}
    )
    nodes = [node.pipeline_node for node in pipeline.nodes]
    names = [node.node_info.id for node in nodes]
    for flag, asked in (("--from", from_nodes), ("--to", to_nodes)):
        if unknown := [name for name in asked if name not in names]:
            raise UsageError(f"{flag} {unknown[0]}: no such node; the nodes are {', '.join(names)}")
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    connection = getattr(
        deployment.metadata_connection_config, deployment.metadata_connection_config.WhichOneof("connection_config")
    )
    if from_nodes or to_nodes:
        try:
            parts.mark(pipeline, from_nodes, to_nodes)
        except ValueError as error:
            raise UsageError(f"this part of the pipeline cannot be run: {error}") from error
    if _TRACKED & {node.node_info.id for node in nodes if not node.execution_options.HasField("skip")}:
        tracking.check(home)  # what W&B will refuse is told before an hour of features
    with metadata.Metadata(connection) as handle:
        if not from_nodes:
            known_root.drop_without_features(handle, places)
        known_root.look_over(handle, places)
    specs = {name: runner_utils.extract_executor_spec(deployment, name) for name in names}
    wanted = [node.node_info.id for node in nodes if not node.execution_options.HasField("skip")]
    if any(isinstance(specs[name], executable_spec_pb2.BeamExecutableSpec) for name in wanted):
        engine.check(config.beam)
    base = _base(connection, pipeline, home, part) if from_nodes else None
    if base:
        outcomes.collect_data(base, summary, home, places)

    def launch(node):
        return launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=specs[node.node_info.id],
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node.node_info.id),
            custom_executor_operators=operators(engine.arguments(config.beam)),
        ).launch()

    outputs: dict[str, dict] = {}
    told = {node: part.name for part in parts.PARTS.values() for node in part.told_with}
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
            with engine.listening(config.beam) as heard:
                state, outputs[name] = outcomes.outcome(connection, launch(node), places)
        except Exception as error:
            _done(summary, on_event, name, "failed", time.monotonic() - clock)
            ours = among_causes(error)
            if isinstance(ours, FeaturesError):
                with metadata.Metadata(connection) as handle:
                    known_root.drop_without_features(handle, places, every=True)
            if ours is not None:
                raise ours from None  # it is among the causes of `error`: another cause would close a circle
            run_log = home / "runs" / summary.run_id / "run.log"
            raise engine.failure(name, error, heard, config.beam, str(run_log)) from error
        _done(summary, on_event, name, state, time.monotonic() - clock)
        if state == "failed":  # of its inputs, which TFX logs and does not raise
            raise PipelineError(name, f"{name} has no inputs; run the pipeline from an earlier node")
        outcomes.collect(name, state, outputs[name], summary, home)
        if state == "ran" and told.get(name, "evaluate") != "evaluate":
            lineage.tell(told[name], config, data, home, summary, places)


def _base(connection, pipeline, home: Path, part: Part | None) -> str | None:
    """The run that a part of the pipeline goes on from; told where it is not the latest."""
    strict = parts.before(pipeline, part) if part else []

    def unlike(run_id: str) -> dict[str, str]:
        return parts.unlike(records.read(home, run_id), pipeline, strict) if strict else {}

    with metadata.Metadata(connection) as handle:
        base = base_run.find(handle, pipeline, unlike)
    if base.passed_over:
        run_id, missing = next(iter(base.passed_over.items()))
        log.warning("going on from run %s: the latest, %s, has no %s", base.run_id, run_id, ", ".join(missing))
    return base.run_id


def _done(summary: RunSummary, on_event, name: str, state: str, seconds: float) -> None:
    entry = {"name": name, "state": state, "seconds": round(seconds, 1)}
    summary.components.append(entry)
    on_event("done", entry)


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
    path.write_text("".join(textfile.to_json(e) + "\n" for e in entries), encoding="utf-8")
