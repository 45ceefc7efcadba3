"""Which run a part of the pipeline goes on from: the latest that has all that the part needs.

TFX goes on from the latest run, whatever became of it. A run that was cut off, or that was a part itself, may have made
nothing of what is asked for, and then no part would run until the whole has run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler_utils, constants
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2

from memefly.errors import UsageError


@dataclass(frozen=True)
class Base:
    run_id: str | None  # None: the part needs nothing of any run
    passed_over: dict[str, list[str]]  # later runs, latest first, and the needed nodes that did not end well in them


def find(
    handle: metadata.Metadata,
    pipeline: pipeline_pb2.Pipeline,
    unlike: Callable[[str], dict[str, str]] = lambda run_id: {},
) -> Base:
    """The run to go on from, for a compiled pipeline that `partial_run_utils.mark_pipeline` has marked. `unlike` says
    of a run which nodes did their work with other parameters than are asked for now, and which; such a one will not do.

    Raises `UsageError` where no run has all that is needed.
    """
    needed = [
        node.pipeline_node.node_info.id
        for node in pipeline.nodes
        if node.pipeline_node.execution_options.skip.reuse_artifacts_mode
        == pipeline_pb2.NodeExecutionOptions.Skip.REQUIRED
    ]
    if not needed:
        return Base(None, {})
    name = pipeline.pipeline_info.id
    passed_over: dict[str, list[str]] = {}
    reasons: list[str] = []
    nodes = {
        node: handle.store.get_context_by_type_and_name(
            constants.NODE_CONTEXT_TYPE_NAME, compiler_utils.node_context_name(name, node)
        )
        for node in needed
    }
    for run in _runs(handle, name):
        missing, lost = [], []
        for node, context in nodes.items():
            executions = _ended_well(handle, run, context)
            if not executions:
                missing.append(node)
            elif gone := _lost(handle, executions):
                missing.append(node)
                lost.append(f"{node}'s {' and '.join(gone)}")
        if not missing and not (other := unlike(run.name)):
            return Base(run.name, passed_over)
        if not missing:
            reasons.append(f"run {run.name}: other {', '.join(f'{key} of {node}' for node, key in other.items())}")
        passed_over[run.name] = missing or [f"{node} of this {key}" for node, key in other.items()]
        if lost:
            reasons.append(
                f"files of {', '.join(lost)} are gone from run {run.name}: run from {lost[0].partition(chr(39))[0]}"
            )
    raise UsageError(
        f"this part of the pipeline goes on from what {', '.join(needed)} made, and no run in this root has all of "
        f"that{' (' + '; '.join(reasons) + ')' if reasons else ''}; run the pipeline from its beginning first, without "
        "--from"
    )


def _runs(handle: metadata.Metadata, pipeline: str) -> list[metadata_store_pb2.Context]:
    """Contexts of the pipeline's runs, latest first."""
    context = handle.store.get_context_by_type_and_name(constants.PIPELINE_CONTEXT_TYPE_NAME, pipeline)
    if context is None:
        return []
    runs = [
        child
        for child in handle.store.get_children_contexts_by_context(context.id)
        if child.type == constants.PIPELINE_RUN_CONTEXT_TYPE_NAME
    ]
    return sorted(runs, key=lambda run: (run.create_time_since_epoch, run.id), reverse=True)


def _ended_well(handle: metadata.Metadata, run, node: metadata_store_pb2.Context | None) -> list:
    """The executions of a node in a run that ended well."""
    if node is None:
        return []
    executions = execution_lib.get_executions_associated_with_all_contexts(handle, contexts=[run, node])
    return [execution for execution in executions if execution_lib.is_execution_successful(execution)]


def _lost(handle: metadata.Metadata, executions: list) -> list[str]:
    """Keys of the outputs of executions whose files are gone."""
    events = handle.store.get_events_by_execution_ids([execution.id for execution in executions])
    keys = {e.artifact_id: e.path.steps[0].key for e in events if e.type == metadata_store_pb2.Event.OUTPUT}
    artifacts = handle.store.get_artifacts_by_id(list(keys))
    return sorted(keys[a.id] for a in artifacts if a.state == metadata_store_pb2.Artifact.DELETED)
