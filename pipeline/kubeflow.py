"""The pipeline as Kubeflow Pipelines and Vertex AI run it: a file of KFP's intermediate representation, v2.

    >>> compile_to("pipeline.yaml", config, image="registry/memefly:1")

The nodes are those that run here, but for one: nobody resolves artifacts there, so that the live model comes from a
component. Folders are parameters of a run: `root_folder`, `data_folder`, and `encoder_weights` where the encoder is a
file; every task is given all of them, and `components.container`, which is what its container runs, takes them out
again. Follows https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components import container
from components.live_model.component import LiveModel
from memefly import storage
from memefly.datasets import records
from memefly.errors import ConfigError, UsageError
from memefly.exported.manifest import MODEL_NAME
from pipeline import engine
from pipeline.config import DEFAULT_SCHEMA, PipelineConfig
from pipeline.pipeline import Known, wire

COMMAND = ("python", "-m", "components.container")
_VERSIONS = f"root://serving/{MODEL_NAME}"
_OF_NOW = ("LiveModel", "StrictExampleValidator")  # what they make hangs on what serves when they run
_NOT_HERE = ("imagenet", "random")  # weights that are no file
_PARAMETERS = {
    "root_folder": "where the pipeline keeps everything, as every container sees it",
    "data_folder": "the canonical data set, as every container sees it",
    "encoder_weights": "the encoder's file, of the name that it was compiled with, as every container sees it",
}


@dataclass(frozen=True)
class Volume:
    """A PersistentVolumeClaim, and where tasks see it."""

    claim: str
    mount: str


def compile_to(
    out: str | Path, config: PipelineConfig, *, image: str, data: str | None = None, volume: Volume | None = None
) -> list[str]:
    """Writes the file; the names of its tasks, in an order in which they can run. Where `data` is given, its digest
    lets tasks be reused; else each run reads DATA anew. Raises `UsageError` and `ConfigError`."""
    path = Path(out)
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out {out}: expected a .yaml, which is what Kubeflow Pipelines loads")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {path.parent}")
    spec = _spec(config, image, data)
    documents = [spec]
    if volume:
        mounts = {"pvcMount": [{"constant": volume.claim, "mountPath": volume.mount}]}
        executors = dict.fromkeys(spec["deploymentSpec"]["executors"], mounts)
        documents.append({"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}})
    storage.replace(path, yaml.safe_dump_all(documents, sort_keys=True, width=120))
    return in_order(spec)


def _spec(config: PipelineConfig, image: str, data: str | None) -> dict[str, Any]:
    """A `PipelineSpec` as JSON has it."""
    try:
        from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as kubeflow
    except ImportError as error:
        raise UsageError(
            f"`memefly compile` needs kfp-pipeline-spec, which is not here ({error}); pip install 'memefly[kubeflow]'"
        ) from error
    if Path(config.data.schema_file) != Path(DEFAULT_SCHEMA):
        raise ConfigError(
            f"data.schema is {config.data.schema_file}, a file of this machine; expected the one of the package, which "
            "containers have too: put yours in its place in the image, at memefly/schemas/captions.pbtxt"
        )
    if elsewhere := [key for key, place in config.storage.model_dump().items() if place]:
        raise ConfigError(
            f"storage.{elsewhere[0]} is {getattr(config.storage, elsewhere[0])}: on Kubeflow artifacts and ML Metadata "
            "are where the installation puts them, features and versions under a run's root_folder; expected it to be "
            f"empty (--set storage.{elsewhere[0]}='')"
        )
    fitted = config.encoder.projection
    if fitted and not isinstance(storage.at(fitted), storage.Remote):
        raise ConfigError(
            f"encoder.projection is {fitted}, a file of this machine, which no container has; expected one in a store "
            "that they read, such as gs://bucket/projection.npz"
        )
    known = Known(
        fingerprint=records.fingerprint(data) if data else "",
        forgotten="",
        schema=f"package://memefly/schemas/{Path(DEFAULT_SCHEMA).name}",
        baseline=lambda key: _VERSIONS,
    )
    pipeline = wire(
        config,
        known,
        lambda candidate: LiveModel(destination=_VERSIONS),
        beam_pipeline_args=[*engine.arguments(config.beam), "--sdk_container_image=none"],
    )
    with tempfile.TemporaryDirectory() as folder:
        runner = kubeflow.KubeflowV2DagRunner(
            kubeflow.KubeflowV2DagRunnerConfig(
                default_image=image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
            ),
            output_dir=folder,
        )
        job = runner.run(pipeline, write_out=False)
    spec = job["pipelineSpec"]
    weights = config.encoder.weights
    _give_folders(spec, None if weights in _NOT_HERE else weights)
    for name in _OF_NOW + (() if data else ("CaptionExampleGen",)):
        spec["root"]["dag"]["tasks"][name]["cachingOptions"] = {}
    return spec


def _give_folders(spec: dict[str, Any], weights: str | None) -> None:
    """Makes folders parameters of a run, and of each of its tasks."""
    names = [name for name in container.FOLDERS if weights or name != "encoder_weights"]
    asked = {"parameters": {n: {"parameterType": "STRING", "description": _PARAMETERS[n]} for n in names}}
    spec["root"]["inputDefinitions"] = asked
    tasks = spec["root"]["dag"]["tasks"]
    for name, component in spec["components"].items():
        parameters = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
        given = tasks[name].setdefault("inputs", {}).setdefault("parameters", {})
        for value in given.values():
            constant = value.get("runtimeValue", {})
            if weights and isinstance(constant.get("constant"), str):
                constant["constant"] = constant["constant"].replace(json.dumps(weights), '"weights://"')
        for folder in names:
            parameters[folder] = {"parameterType": "STRING"}
            given[folder] = {"componentInputParameter": folder}
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        declared = executor["args"].index("--json_serialized_inputs_spec_args") + 1
        executor["args"][declared] = json.dumps(component["inputDefinitions"], sort_keys=True)


def in_order(spec: dict[str, Any]) -> list[str]:
    """Tasks, each behind those that it depends on."""
    tasks, done = spec["root"]["dag"]["tasks"], list[str]()
    while len(done) < len(tasks):
        done += [
            name
            for name, task in tasks.items()
            if name not in done and all(before in done for before in task.get("dependentTasks", []))
        ]
    return done
