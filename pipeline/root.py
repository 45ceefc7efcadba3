"""A ROOT before a run: whether it can be worked in, and what of it is still there.

    >>> check("root")                              # UsageError where nothing could be written there
    >>> with Metadata(connection) as handle:
    ...     look_over(handle, Places.of_root("root"))

ML Metadata says what was made, the file system what is left of it. Where they differ the file system is right: an
artifact whose files are gone is marked as deleted, so that its component is not taken for cached, and it is nobody's
input and no baseline. When its files are back, so is it. What ImageFeatures left is as good as what the feature store
has of it.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.types.standard_artifacts import Examples, Model, PushedModel
from tfx.utils import path_utils

from components.image_features import artifact as image_features
from components.places import Places, rewrite
from memefly import inventory, layout, metadata_store, storage
from memefly.datasets.examples import read, strings
from memefly.errors import UsageError
from memefly.exported import manifest
from memefly.metadata_store import METADATA
from pipeline import root_folder
from pipeline.names import STORE
from pipeline.root_folder import ARTIFACTS

log = logging.getLogger("memefly.root")

_LIVE, _DELETED = metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED


def check(root: str | Path) -> None:
    """Raises `UsageError` where a run cannot write, or ML Metadata be read, before anything is computed."""
    root_folder.check(root)
    there = layout.of(root)
    for name in layout.INSIDE:
        place = getattr(there, name)
        if isinstance(place, storage.Remote):
            storage.probe(place)
        elif there.root not in place.parents:
            root_folder.check_elsewhere(place, f"storage.{name}")
    if there.metadata:
        if metadata_store.claim(root):
            _start_afresh(Path(root))
    else:
        _check_metadata(Path(root))


def _check_metadata(root: Path) -> None:
    path = root / METADATA
    try:  # not to write to it, but what a killed run was writing is taken back with the opening
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        if not path.exists():
            return _start_afresh(root)
        found, tables = str(error), set()
    except sqlite3.DatabaseError as error:
        found, tables = str(error), set()
    if found != "ok" or (tables and "MLMDEnv" not in tables):
        what = found if found != "ok" else "an SQLite database, but not ML Metadata's"
        raise UsageError(
            f"{path} is damaged or no ML Metadata database ({what}). Put a copy of it back, or move it away: the next "
            "run then starts afresh; features, pushed versions and labels stay"
        )
    if not tables:
        _start_afresh(root)


def _start_afresh(root: Path) -> None:
    """Without ML Metadata nobody knows what the artifacts are, and new ones would be written among them."""
    artifacts = layout.of(root).artifacts
    if not artifacts.is_dir() or not any(artifacts.iterdir()):
        return
    if root not in artifacts.parents:
        raise UsageError(
            f"{artifacts} has artifacts already, and ML Metadata of {root} does not know them: they are another's, or "
            "its ML Metadata is gone. Take another storage.artifacts, or put the ML Metadata back"
        )
    aside, number = artifacts.with_name(f"{ARTIFACTS}.unknown"), 1
    while aside.exists():
        number += 1
        aside = artifacts.with_name(f"{ARTIFACTS}.unknown-{number}")
    artifacts.rename(aside)
    log.warning(
        "%s is gone, so this ROOT starts afresh: what earlier runs made is in %s now, and can be removed; features, "
        "pushed versions and labels stay",
        root / METADATA,
        aside,
    )


def look_over(handle: metadata.Metadata, places: Places) -> None:
    """Brings ML Metadata in line with the files that are there."""
    changed, artifacts = [], handle.store.get_artifacts()
    newest = max((artifact.id for artifact in artifacts if artifact.type == Model.TYPE_NAME), default=None)
    for artifact in artifacts:
        if artifact.state not in (_LIVE, _DELETED):
            continue
        moved = _named(artifact, places)
        wrong = _lost(artifact, places, contents=artifact.id == newest or artifact.state == _DELETED)
        state = _DELETED if wrong else _LIVE
        if state != artifact.state:
            artifact.state = state
            what = f"{places.absolute(artifact.uri)} ({artifact.type} of run {_run_of(handle, artifact)})"
            if wrong:
                log.warning("%s is not whole: %s. It is made anew where it is wanted", what, wrong)
            else:
                log.warning("%s is back", what)
        elif not moved:
            continue
        changed.append(artifact)
    if changed:
        handle.store.put_artifacts(changed)


def drop_without_features(handle: metadata.Metadata, places: Places, *, every: bool = False) -> None:
    """Takes away what ImageFeatures says of features, of its newest artifact or of every one, where the feature store
    lacks some of them: `look_over` then sees an artifact that is not whole, which is made anew where it is wanted."""
    of_features = [
        artifact
        for artifact in handle.store.get_artifacts_by_type(Examples.TYPE_NAME)
        if (storage.at(places.absolute(artifact.uri)) / image_features.FILE).is_file()
    ]
    for artifact in sorted(of_features, key=lambda one: -one.id)[: None if every else 1]:
        folder = storage.at(places.absolute(artifact.uri))
        store = image_features.read(str(folder)).store(places.absolute(STORE))
        known = (strings(f["image_id"])[0] for split in sorted(folder.glob("Split-*")) for f in read(split))
        # What a training lacks may be there, and damaged.
        lost = sum(store.get(one) is None if every else not store.has(one) for one in known)
        if lost:
            log.warning("%s lacks the features of %d pictures, which are encoded anew", store.folder, lost)
            (folder / image_features.FILE).unlink()


def _named(artifact, places: Places) -> bool:
    """Gives an artifact its name in the root, where an earlier memefly has written down the path that it had then."""
    before = artifact.SerializeToString(deterministic=True)

    def named(text: str) -> str:
        for part in (f"/{ARTIFACTS}/", "/serving/"):
            head, found, inside = text.rpartition(part)
            if head.startswith("/") and found:
                return f"root:/{part}{inside}"
        return text

    rewrite(artifact, named)
    return artifact.SerializeToString(deterministic=True) != before


def _lost(artifact, places: Places, contents: bool) -> str:
    """What is wrong with an artifact's files; empty where nothing is."""
    folder = places.absolute(artifact.uri)
    if wrong := inventory.lost(folder):
        return wrong
    if artifact.type == Model.TYPE_NAME:
        return manifest.damage(path_utils.serving_model_path(folder), contents)
    if artifact.type == PushedModel.TYPE_NAME and artifact.custom_properties["pushed"].int_value:
        version = places.absolute(artifact.custom_properties["pushed_destination"].string_value)
        if wrong := manifest.damage(version):
            return (
                f"the version that it pushed, {version}, has {wrong}"
                if storage.at(version).exists()
                else f"{version} is gone"
            )
    return ""


def _run_of(handle: metadata.Metadata, artifact) -> str:
    """The run that made an artifact: the first of those that it belongs to."""
    contexts = handle.store.get_contexts_by_artifact(artifact.id)
    runs = sorted((context.id, context.name) for context in contexts if context.type == "pipeline_run")
    return runs[0][1] if runs else "unknown"
