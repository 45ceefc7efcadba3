"""Which run a part of the pipeline goes on from."""

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2

from memefly.errors import UsageError
from pipeline import base_run

DONE, CACHED, FAILED, RUNNING = (
    getattr(metadata_store_pb2.Execution, state) for state in ("COMPLETE", "CACHED", "FAILED", "RUNNING")
)


@pytest.fixture
def handle():
    with metadata.Metadata(metadata_store_pb2.ConnectionConfig(fake_database={})) as handle:
        yield handle


def record(handle, run: str, **states: int) -> None:
    """Writes down what a run's nodes came to, as TFX's launcher does."""
    pipeline = context_lib.register_context_if_not_exists(handle, "pipeline", "memefly")
    context = context_lib.register_context_if_not_exists(handle, "pipeline_run", run, parent_contexts=[pipeline])
    kind = metadata_store_pb2.ExecutionType(name="node")
    for node, state in states.items():
        own = context_lib.register_context_if_not_exists(handle, "node", f"memefly.{node}")
        execution = execution_lib.prepare_execution(handle, kind, state)
        execution_lib.put_execution(handle, execution, [pipeline, context, own])


def part(*needed: str) -> pipeline_pb2.Pipeline:
    """A pipeline of two nodes and a third that is run, marked as for a partial run."""
    made = pipeline_pb2.Pipeline(pipeline_info={"id": "memefly"})
    modes = pipeline_pb2.NodeExecutionOptions.Skip
    for name in ("Transform", "Trainer"):
        node = made.nodes.add().pipeline_node
        node.node_info.id = name
        node.execution_options.skip.reuse_artifacts_mode = modes.REQUIRED if name in needed else modes.OPTIONAL
    made.nodes.add().pipeline_node.execution_options.run.perform_snapshot = True
    return made


def test_the_latest_run_that_has_what_is_needed(handle):
    record(handle, "whole", Transform=DONE, Trainer=DONE)
    record(handle, "again", Transform=CACHED, Trainer=FAILED)
    record(handle, "cut off", Transform=RUNNING)
    record(handle, "empty")
    later = {"empty": ["Transform"], "cut off": ["Transform"]}
    assert base_run.find(handle, part("Transform")) == base_run.Base("again", later)
    base = base_run.find(handle, part("Transform", "Trainer"))
    assert base.run_id == "whole" and base.passed_over["again"] == ["Trainer"]


def test_not_half_from_one_run_and_half_from_another(handle):
    record(handle, "one", Transform=DONE)
    record(handle, "other", Trainer=DONE)
    with pytest.raises(UsageError, match="Transform, Trainer made, and no run in this root has all of that"):
        base_run.find(handle, part("Transform", "Trainer"))


def test_before_anything_has_run(handle):
    with pytest.raises(UsageError, match="from its beginning first"):
        base_run.find(handle, part("Transform"))


def test_a_part_that_needs_nothing_needs_no_run(handle):
    assert base_run.find(handle, part()) == base_run.Base(None, {})
