"""What ML Metadata knows of the nodes of a run: what each was given, and what it made.

    >>> nodes = read("root", "20261127-211825")
    >>> nodes["Trainer"].properties["custom_config.training.max_steps"], nodes["Trainer"].inputs
    ('200', {'transform_graph': (7,), …})

Read without TFX, and without writing: a run may be at work meanwhile.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memefly.errors import UsageError

METADATA = "metadata.sqlite"


@dataclass
class Node:
    """An execution of a node in a run."""

    state: str  # ran | cached | failed
    properties: dict[str, str] = field(default_factory=dict)  # those that hold JSON, by their keys
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)  # ids of artifacts, by key
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)  # their URIs, by key


def read(root: str | Path, run_id: str) -> dict[str, Node]:
    """By name. Raises `UsageError` where there is no ML Metadata of a pipeline."""
    path = Path(root) / METADATA
    if not path.is_file():
        raise UsageError(f"no {path}: expected ROOT of `memefly run --root ROOT`")
    try:
        from ml_metadata import errors
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import metadata_store_pb2 as protos
    except ModuleNotFoundError:
        raise UsageError("this reads ML Metadata, which is not installed: pip install 'memefly[pipeline]'") from None
    config = protos.ConnectionConfig()
    config.sqlite.filename_uri, config.sqlite.connection_mode = str(path), protos.SqliteMetadataSourceConfig.READONLY
    try:
        store = metadata_store.MetadataStore(config)
        run = store.get_context_by_type_and_name("pipeline_run", run_id)
        executions = store.get_executions_by_context(run.id) if run else []
        events = store.get_events_by_execution_ids([one.id for one in executions]) if executions else []
        outputs = {e.artifact_id for e in events if e.type == protos.Event.OUTPUT}
        uris = {a.id: a.uri for a in store.get_artifacts_by_id(list(outputs))} if outputs else {}
    except (errors.StatusError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read as ML Metadata: {error}") from None
    states = {protos.Execution.COMPLETE: "ran", protos.Execution.CACHED: "cached"}
    found: dict[str, Node] = {}
    by_id: dict[int, Node] = {}
    for execution in executions:
        names = [c.name for c in store.get_contexts_by_execution(execution.id) if c.type == "node"]
        if names:
            node = Node(states.get(execution.last_known_state, "failed"), _properties(execution))
            found[names[0].rpartition(".")[2]] = by_id[execution.id] = node
    given: dict[tuple[int, str], list[int]] = defaultdict(list)
    for event in events:
        if event.execution_id not in by_id or not event.path.steps:
            continue
        key, node = event.path.steps[0].key, by_id[event.execution_id]
        if event.type == protos.Event.OUTPUT:
            node.outputs[key] = (*node.outputs.get(key, ()), uris[event.artifact_id])
        elif event.type == protos.Event.INPUT:
            given[event.execution_id, key].append(event.artifact_id)
    for (execution_id, key), ids in given.items():
        by_id[execution_id].inputs[key] = tuple(sorted(ids))
    return found


def _properties(execution: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in (*execution.properties.items(), *execution.custom_properties.items()):
        held = getattr(value, value.WhichOneof("value") or "string_value")
        try:
            read = json.loads(held) if isinstance(held, str) and held[:1] in ("{", "[") else held
        except ValueError:
            read = held
        found |= flat(read, name)
    return found


def flat(value: Any, name: str = "") -> dict[str, str]:
    """What stands in nested mappings, by names with dots."""
    if not isinstance(value, dict):
        return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{name}.{key}" if name else str(key))
    return found
