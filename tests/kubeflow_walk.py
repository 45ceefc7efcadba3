"""Walks a compiled pipeline as Kubeflow Pipelines would, one task after another on this machine: each is the very
command of its container, a process that is given its ExecutorInput and nothing else.

    >>> walk = Walk(Path("pipeline.yaml"), tmp_path, {"root_folder": …, "data_folder": …})
    >>> walk.run("CaptionExampleGen")
    >>> walk.made["CaptionExampleGen"]["examples"]["uri"]

What it does not do is what a cluster does: images, volumes, retries, caching.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format


class Walk:
    def __init__(self, compiled: Path, folder: Path, parameters: dict[str, str], package: Path):
        """Artifacts go under FOLDER/pipeline-root, where a cluster would have an object store; `package` is where the
        image would have the package."""
        self.spec = next(iter(yaml.safe_load_all(compiled.read_text(encoding="utf-8"))))
        self.folder, self.parameters, self.package = folder, parameters, package
        self.made: dict[str, dict[str, Any]] = {}  # RuntimeArtifacts by task and key
        self.log: list[str] = []

    def run(self, name: str) -> subprocess.CompletedProcess:
        """One task, on what those before it have made."""
        task, component = self.spec["root"]["dag"]["tasks"][name], None
        component = self.spec["components"][task["componentRef"]["name"]]
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        home = self.folder / "containers" / f"{name}-{len(self.log)}"
        home.mkdir(parents=True)
        given = self._executor_input(name, task, component, home)
        from kfp.pipeline_spec import pipeline_spec_pb2

        json_format.ParseDict(given, pipeline_spec_pb2.ExecutorInput())  # no more and no less than it knows
        command = [*container["command"], *(arg.replace("{{$}}", json.dumps(given)) for arg in container["args"])]
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PYTHONPATH": str(self.package),
            "HOME": str(home), "TMPDIR": str(home),
        }  # fmt: skip
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        self.log.append(f"{name}: {done.returncode}")
        if done.returncode == 0:
            said = json.loads(Path(given["outputs"]["outputFile"]).read_text(encoding="utf-8"))
            self.made[name] = {}
            for key, those in given["outputs"].get("artifacts", {}).items():
                (artifact,) = those["artifacts"]
                (told,) = said["artifacts"][key]["artifacts"]
                self.made[name][key] = {**artifact, **told}
        return done

    def _executor_input(self, name: str, task: dict, component: dict, home: Path) -> dict:
        values = {}
        for key, given in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in given:
                values[key] = self.parameters[given["componentInputParameter"]]
            else:
                values[key] = given["runtimeValue"]["constant"]
        inputs = {
            key: {"artifacts": [self.made[of["producerTask"]][of["outputArtifactKey"]]]}
            for key, of in (
                (key, given["taskOutputArtifact"]) for key, given in task.get("inputs", {}).get("artifacts", {}).items()
            )
        }
        outputs = {}
        for key, declared in component.get("outputDefinitions", {}).get("artifacts", {}).items():
            uri = self.folder / "pipeline-root" / f"{name}-{len(self.log)}" / key
            uri.parent.mkdir(parents=True, exist_ok=True)
            artifact = {"name": f"{name}/{key}/{len(self.log)}", "uri": str(uri), "type": declared["artifactType"]}
            outputs[key] = {"artifacts": [{**artifact, "metadata": declared.get("metadata", {})}]}
        return {
            "inputs": {"parameterValues": values, "artifacts": inputs},
            "outputs": {"artifacts": outputs, "outputFile": str(home / "executor_output.json")},
        }
