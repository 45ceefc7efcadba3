"""VersionPusher's executor."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tfx.components.pusher import executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.caption_metrics.evaluation import read_metrics
from components.example_validator import drift
from memefly import storage
from memefly.errors import ModelError
from memefly.exported.manifest import LAST, STATISTICS, damage, read_manifest, versions, write_manifest
from memefly.storage import Place

log = logging.getLogger("memefly.pusher")

_PARTIAL = ".pushing-"


class Executor(executor.Executor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        source = storage.at(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])))
        evaluation = read_metrics(artifact_utils.get_single_uri(input_dict["evaluation"]))
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        train = drift.kept(stats_artifact_utils.load_statistics(statistics, "train").proto())
        destination, data = storage.at(exec_properties["destination"]), exec_properties["data"]
        version = push(source, destination, evaluation, train.SerializeToString(), data)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


def push(
    source: Place, destination: Place, evaluation: dict[str, float], statistics: bytes = b"", data: str = ""
) -> Place:
    """Copies a model to DESTINATION/<version>, with the statistics of its data, and returns that folder.

    Where the newest whole version is this very model already (a push that was interrupted after its rename), that one
    is returned and nothing is written. What is no whole model is never overwritten. A folder appears by one rename; in
    a store, the graph and what names the files come last.
    """
    manifest = read_manifest(source)
    if wrong := damage(source, contents=True):
        raise ModelError(f"the model that was to be pushed, {source}, is not whole: {wrong}; run the pipeline again")
    destination.mkdir(parents=True, exist_ok=True)
    if not isinstance(destination, storage.Remote):
        for stale in destination.parent.glob(f"{_PARTIAL}{destination.name}-*"):  # of pushes that were killed
            shutil.rmtree(stale, ignore_errors=True)
    there, whole = versions(destination), None
    for version in there:
        if wrong := damage(version):
            log.warning("version %s in %s is no whole model (%s): left as it is", version.name, destination, wrong)
        else:
            whole = whole or version
    if whole and read_manifest(whole)["digest"] == manifest["digest"]:
        log.info("version %s is this model already", whole.name)
        return whole
    number = max(int(time.time()), int(there[0].name) + 1 if there else 0)
    with _appearing(destination / str(number)) as partial:
        storage.copy_tree(source, partial)
        if statistics:
            (partial / STATISTICS).parent.mkdir(exist_ok=True)
            (partial / STATISTICS).write_bytes(statistics)
        manifest |= {"data": data} if data else {}
        manifest["metrics"]["eval"] = evaluation
        manifest["version"] = number
        manifest["blessed"] = True  # by the gate and by ServingValidator: nothing else gets here
        write_manifest(partial, manifest)
    log.info("pushed version %d", number)
    return destination / str(number)


@contextlib.contextmanager
def _appearing(version: Place) -> Iterator[Path]:
    """A folder to write to, which is the version's when the block has ended well."""
    if isinstance(version, storage.Remote):
        with storage.written(version, last=LAST) as partial:
            yield partial
        return
    # Beside the folder that servers watch, on the same file system: it becomes visible by one rename.
    partial = version.parent.parent / f"{_PARTIAL}{version.parent.name}-{os.getpid()}"
    partial.mkdir()
    yield partial
    os.replace(partial, version)
