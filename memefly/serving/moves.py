"""A move of a label, and who has to know of it beside TensorFlow Serving: ML Metadata, and W&B.

>>> for party in parties("root"):
...     party.tell(move)                                    # as often as one likes: it counts once
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from memefly import layout, metadata_store
from memefly.errors import PromotionError
from memefly.exported.manifest import MODEL_NAME, read_manifest
from memefly.tracking import manifest

_KINDS = {
    "action": "STRING", "label": "STRING", "before": "INT", "version": "INT", "who": "STRING", "why": "STRING",
    "when": "STRING",
}  # fmt: skip


@dataclass(frozen=True)
class Move:
    """One line of the history; `before` and `version` are None where the label was, or is, on no version."""

    when: str  # ISO 8601, UTC
    who: str
    why: str
    action: str  # promote | rollback
    label: str
    before: int | None
    version: int | None
    id: str = ""  # a move of an older memefly has none


class Party(Protocol):
    """Both may be asked again and again, and after a kill at any point. They raise what is wrong with the one told."""

    def tell(self, move: Move) -> None: ...

    def take_back(self, move: Move) -> None: ...


def parties(root: str | Path) -> list[Party]:
    """Of a ROOT: ML Metadata where that is there (a folder of versions alone, as one is copied to a server, has none),
    and the manifest of what W&B is to know."""
    root = Path(root)
    return [*([MetadataRecord(root)] if metadata_store.is_there(root) else []), Registry(root)]


class MetadataRecord:
    """An execution of the type `memefly.Promotion` for each move, with the version's PushedModel as its input."""

    TYPE = "memefly.Promotion"

    def __init__(self, root: Path):
        self._root = root

    def tell(self, move: Move) -> None:
        with self._store() as (store, protos):
            self._put(store, protos, move, protos.Execution.COMPLETE)

    def take_back(self, move: Move) -> None:
        with self._store() as (store, protos):
            if store.get_execution_by_type_and_name(self.TYPE, move.id) is not None:
                self._put(store, protos, move, protos.Execution.CANCELED)

    def _store(self) -> Any:
        return metadata_store.opened(self._root, writes=True)

    def _put(self, store: Any, protos: Any, move: Move, state: int) -> None:
        """All of it in one transaction; where it is there already, only its state."""
        kind = protos.ExecutionType(name=self.TYPE)
        for name, type_name in _KINDS.items():
            kind.properties[name] = protos.PropertyType.Value(type_name)
        type_id = store.put_execution_type(kind)
        known = store.get_execution_by_type_and_name(self.TYPE, move.id)
        execution = known or protos.Execution(type_id=type_id, name=move.id)
        execution.last_known_state = state
        for name, value in asdict(move).items():
            if value is not None and name in _KINDS:
                which = "int_value" if _KINDS[name] == "INT" else "string_value"
                setattr(execution.properties[name], which, value)
        pushed = [] if known else [one for one in _pushed(store) if one[1] == move.version][:1]
        event = protos.Event(type=protos.Event.INPUT, milliseconds_since_epoch=int(time.time() * 1000))
        event.path.steps.add().key = "pushed_model"
        store.put_execution(execution, [(artifact, event) for artifact, _ in pushed], [])


def _pushed(store: Any) -> list[tuple[Any, int | None]]:
    """PushedModels, the newest first, and the version that each became."""
    found = []
    for artifact in sorted(store.get_artifacts_by_type("PushedModel"), key=lambda one: -one.id):
        held = artifact.custom_properties.get("pushed_version")
        found.append((artifact, int(held.string_value) if held and held.string_value.isdecimal() else None))
    return found


class Registry:
    """An entry in the manifest, which puts the label as an alias on the version's model in W&B."""

    def __init__(self, root: Path):
        self._root = root

    def tell(self, move: Move) -> None:
        manifest.add(self._root, self._entry(move))

    def take_back(self, move: Move) -> None:
        manifest.withdraw(self._root, move.id)

    def _entry(self, move: Move) -> manifest.Entry:
        if move.version is None:
            raise PromotionError(f"the move {move.id} of {move.label} leads to no version")
        digest = read_manifest(layout.of(self._root).versions / str(move.version)).get("digest", "")
        model = manifest.Artifact(MODEL_NAME, "model", digest)
        return manifest.Entry(
            "promote", uses=(model,), links=(manifest.Link(model, (move.label,), registry=True),),
            config={k: v for k, v in asdict(move).items() if k != "id"}, when=move.when, id=move.id,
        )  # fmt: skip
