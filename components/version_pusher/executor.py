"""VersionPusher's executor."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

from tfx.components.pusher import executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.caption_metrics.evaluation import read_metrics
from memefly.exported.manifest import read_manifest, write_manifest

log = logging.getLogger("memefly.pusher")

_PARTIAL = ".pushing-"


class Executor(executor.Executor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        source = Path(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])))
        evaluation = read_metrics(artifact_utils.get_single_uri(input_dict["evaluation"]))
        version = push(source, Path(exec_properties["destination"]), evaluation)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


def push(source: Path, destination: Path, evaluation: dict[str, float]) -> Path:
    """Copies a model to DESTINATION/<version> and returns that folder.

    Where the newest version is this very model already (a push that was interrupted after its rename), that one is
    returned and nothing is written.
    """
    manifest = read_manifest(source)
    destination.mkdir(parents=True, exist_ok=True)
    for stale in destination.parent.glob(f"{_PARTIAL}{destination.name}-*"):  # of pushes that were killed
        shutil.rmtree(stale, ignore_errors=True)
    versions = sorted((int(p.name) for p in destination.iterdir() if p.name.isdigit()), reverse=True)
    if versions and read_manifest(destination / str(versions[0]))["digest"] == manifest["digest"]:
        log.info("version %d is this model already", versions[0])
        return destination / str(versions[0])
    number = max(int(time.time()), versions[0] + 1 if versions else 0)
    # Beside the folder that servers watch, on the same file system: it becomes visible by one rename.
    partial = destination.parent / f"{_PARTIAL}{destination.name}-{os.getpid()}"
    shutil.copytree(source, partial)
    manifest["metrics"]["eval"] = evaluation
    manifest["version"] = number
    manifest["blessed"] = True  # by the gate and by ServingValidator: nothing else gets here
    write_manifest(partial, manifest)
    os.replace(partial, destination / str(number))
    log.info("pushed version %d", number)
    return destination / str(number)
