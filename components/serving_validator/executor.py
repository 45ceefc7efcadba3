"""ServingValidator's executor: starts `replay` and turns its verdict into an InfraBlessing."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from memefly import provenance, storage

log = logging.getLogger("memefly.serving")

BLESSED, NOT_BLESSED = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
REASON = "reason"


class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        examples = artifact_utils.get_split_uri(input_dict["examples"], "eval")
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        pictures = exec_properties["pictures"]
        with storage.local(path_utils.serving_model_path(model.uri)) as copy, _few(examples, pictures) as few:
            reason = replay(str(copy), few, pictures, exec_properties["timeout"])
        folder = storage.at(blessing.uri)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (NOT_BLESSED if reason else BLESSED)).write_text(reason, encoding="utf-8")
        blessing.set_int_custom_property("blessed", 0 if reason else 1)
        blessing.set_string_custom_property(REASON, reason)
        if reason:
            log.warning("not servable: %s", reason)


@contextlib.contextmanager
def _few(examples: str, count: int) -> Iterator[str]:
    """A folder of this machine with the first Examples of a split: a stranger's TensorFlow may not speak the store."""
    if not storage.is_remote(examples):
        yield examples
        return
    files = sorted(tf.io.gfile.glob(f"{examples}/*"))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    with tempfile.TemporaryDirectory() as folder:
        with tf.io.TFRecordWriter(os.path.join(folder, "few")) as writer:
            for record in tf.data.TFRecordDataset(files, compression).take(count).as_numpy_iterator():
                writer.write(record)
        yield folder


def replay(model: str, examples: str, pictures: int, timeout: int) -> str:
    """Why the model cannot be served; empty if it can."""
    command = [sys.executable, "-m", "components.serving_validator.replay", model, examples, str(pictures)]
    # So that -m finds it wherever the caller stands.
    path = os.pathsep.join([str(provenance.place_of("components").parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout} seconds"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
