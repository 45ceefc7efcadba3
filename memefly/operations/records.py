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

from memefly import layout, metadata_store
from memefly.errors import UsageError
from memefly.metadata_store import METADATA
from memefly.storage import Place


@dataclass
class Node:
    """An execution of a node in a run."""

    state: str  # ran | cached | failed
    made_in: str = ""  # the run that made its outputs: an earlier one where they come from the cache
    properties: dict[str, str] = field(default_factory=dict)  # those that hold JSON, by their keys
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)  # ids of artifacts, by key
    given_of: dict[str, str] = field(default_factory=dict)  # the runs that made the inputs, by key
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)  # their URIs, by key
    made: tuple[int, ...] = ()  # ids of the artifacts in `outputs`


def read(root: str | Path, run_id: str) -> dict[str, Node]:
    """By name. Raises `UsageError` where there is no ML Metadata of a pipeline."""
    if not metadata_store.is_there(root):
        raise UsageError(f"no {Path(root) / METADATA}: expected ROOT of `memefly run --root ROOT`")
    with metadata_store.opened(root, writes=False) as (store, protos):
        return _Reader(store, protos).nodes(run_id)


def under(root: str | Path, uri: str) -> Place:
    """Where an artifact lies that ML Metadata knows by a name under ROOT (`components.places`)."""
    return layout.of(root).under(uri)


class _Reader:
    def __init__(self, store: Any, protos: Any):
        self._store, self._protos = store, protos
        self._states = {protos.Execution.COMPLETE: "ran", protos.Execution.CACHED: "cached"}

    def nodes(self, run_id: str) -> dict[str, Node]:
        run = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        named = [(self._context(one.id, "node"), one) for one in self._of_run(run)]
        executions = {name: one for name, one in named if name}
        events = self._events([one.id for one in executions.values()])
        uris = {one.id: one.uri for one in self._artifacts(list({e.artifact_id for e in events}))}
        makers = self._makers(list(uris))
        runs = {one: self._context(one, "pipeline_run") for one in set(makers.values())}
        found: dict[str, Node] = {}
        for name, execution in executions.items():
            own = [event for event in events if event.execution_id == execution.id]
            node = Node(self._states.get(execution.last_known_state, "failed"))
            self._fill(node, execution, own)
            for event in own:
                if event.type == self._protos.Event.OUTPUT:
                    key, maker = event.path.steps[0].key, makers[event.artifact_id]
                    node.made, node.made_in = (*node.made, event.artifact_id), runs[maker]
                    node.outputs[key] = (*node.outputs.get(key, ()), uris[event.artifact_id])
                    if maker != execution.id and not (node.properties or node.inputs):
                        # A part of the pipeline has of the nodes before it what they made, not what they were given.
                        (origin,) = self._store.get_executions_by_id([maker])
                        self._fill(node, origin, self._events([maker]))
            node.given_of = {key: runs[makers[ids[0]]] for key, ids in node.inputs.items() if ids[0] in makers}
            found[name.rpartition(".")[2]] = node
        # As a pipeline runs: who is given something comes after who made it.
        return dict(sorted(found.items(), key=lambda one: min(one[1].made, default=1 << 62)))

    def _fill(self, node: Node, execution: Any, events: list[Any]) -> None:
        node.properties = _properties(execution)
        given: dict[str, list[int]] = defaultdict(list)
        for event in events:
            if event.type == self._protos.Event.INPUT and event.path.steps:
                given[event.path.steps[0].key].append(event.artifact_id)
        node.inputs = {key: tuple(sorted(ids)) for key, ids in given.items()}

    def _of_run(self, run: Any) -> list[Any]:
        return self._store.get_executions_by_context(run.id) if run else []

    def _events(self, executions: list[int]) -> list[Any]:
        return self._store.get_events_by_execution_ids(executions) if executions else []

    def _artifacts(self, ids: list[int]) -> list[Any]:
        return self._store.get_artifacts_by_id(ids) if ids else []

    def _makers(self, artifacts: list[int]) -> dict[int, int]:
        """By artifact, the execution that made it: the first of those that gave it out."""
        found: dict[int, int] = {}
        for event in self._store.get_events_by_artifact_ids(artifacts) if artifacts else []:
            if event.type == self._protos.Event.OUTPUT:
                found[event.artifact_id] = min(event.execution_id, found.get(event.artifact_id, event.execution_id))
        return found

    def _context(self, execution: int, kind: str) -> str:
        return next((c.name for c in self._store.get_contexts_by_execution(execution) if c.type == kind), "")


def _properties(execution: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in (*execution.properties.items(), *execution.custom_properties.items()):
        found |= flat(readable(getattr(value, value.WhichOneof("value") or "string_value")), name)
    return found


def readable(held: Any) -> Any:
    """What a parameter says, which may be JSON."""
    try:
        return json.loads(held) if isinstance(held, str) and held[:1] in ("{", "[") else held
    except ValueError:
        return held


def flat(value: Any, name: str = "") -> dict[str, str]:
    """What stands in nested mappings, by names with dots."""
    if not isinstance(value, dict):
        return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{name}.{key}" if name else str(key))
    return found
