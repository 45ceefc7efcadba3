"""What a container of Kubeflow Pipelines runs: one component, on what its ExecutorInput says and nothing else.

    python -m components.container --executor_class_path=… --json_serialized_invocation_args='{{$}}'
        --json_serialized_inputs_spec_args=… [Beam's arguments]

It is TFX's own entry (`kubeflow_v2_run_executor`) with three things around it. Parameters name the folders of a run by
our schemes (`components.places`); where those are now, the run's own parameters `FOLDERS` say. Artifacts in an object
store are read and written where Kubeflow's launcher, and Vertex, have them on disk: gs://bucket/x in /gcs/bucket/x, and
so on. And an error of ours ends the container as it would end the command: one line, with its exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components import places
from memefly import provenance
from memefly.errors import among_causes

FOLDERS = {"root_folder": "root", "data_folder": "data", "encoder_weights": "weights"}  # and the schemes they are of
PACKAGE = "package"  # the scheme of what lies in the package itself
# https://github.com/kubeflow/pipelines, backend/src/v2/objectstore: what its launcher copies from and to.
_MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
_ARTIFACT_TYPES = {
    "memefly.Quarantine": "components.caption_example_gen.component.Quarantine",
    "memefly.Gallery": "components.tracking.component.Gallery",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.container", description=(__doc__ or "").split("\n")[0])
    for name in ("executor_class_path", "json_serialized_invocation_args", "json_serialized_inputs_spec_args"):
        parser.add_argument(f"--{name}", required=True)
    arguments, beam = parser.parse_known_args(argv)
    try:
        run(arguments, beam)
    except Exception as error:
        ours = among_causes(error)
        if ours is None:
            raise
        print(f"memefly: {ours}", file=sys.stderr)
        return ours.exit_code
    return 0


def run(arguments: argparse.Namespace, beam: list[str]) -> None:
    """Runs the executor, and leaves what it says of its outputs where the ExecutorInput wants it."""
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    compiler_utils.TITLE_TO_CLASS_PATH.update(_ARTIFACT_TYPES)
    given = json.loads(arguments.json_serialized_invocation_args)
    inputs, outputs = given.setdefault("inputs", {}), given["outputs"]
    parameters = inputs.setdefault("parameterValues", {})
    folders = {scheme: parameters.pop(name) for name, scheme in FOLDERS.items() if parameters.get(name)}
    with places.Places({**folders, PACKAGE: str(provenance.place_of("memefly").parent)}).open():
        for name, value in parameters.items():
            parameters[name] = places.resolve(value)
        for side in (inputs, outputs):
            _each_uri(side.get("artifacts", {}), mounted)
        output_file = outputs["outputFile"] = mounted(outputs["outputFile"])
        arguments.json_serialized_invocation_args = json.dumps(given)
        kubeflow_v2_run_executor.main((arguments, beam))
        said = json.loads(Path(output_file).read_text(encoding="utf-8"))
        _each_uri(said.get("artifacts", {}), unmounted)
        Path(output_file).write_text(json.dumps(said), encoding="utf-8")


def _each_uri(artifacts: dict[str, Any], as_: Callable[[str], str]) -> None:
    for those in artifacts.values():
        for artifact in those["artifacts"]:
            artifact["uri"] = as_(artifact["uri"])


def mounted(uri: str) -> str:
    """Where an object store's URI is on disk; other text as it is."""
    for scheme, folder in _MOUNTS.items():
        if uri.startswith(scheme):
            return folder + uri[len(scheme) :]
    return uri


def unmounted(path: str) -> str:
    for scheme, folder in _MOUNTS.items():
        if path.startswith(folder):
            return scheme + path[len(folder) :]
    return path


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.exit(main())
