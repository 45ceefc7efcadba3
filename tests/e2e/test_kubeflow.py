"""The pipeline compiled for Kubeflow: what stands in the file, and a walk through it from data to a pushed model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from whole_run import HOME

from memefly.exported.manifest import newest_version, read_manifest

pytest.importorskip("kfp.pipeline_spec", reason="no kfp-pipeline-spec in this lane")

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline import kubeflow
from tests.kubeflow_walk import Walk

GOLDEN = Path(__file__).with_name("kubeflow.golden.yaml")


def compile_(out: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline.command", "compile", "--config", "tiny", "--image", "registry/memefly:1"]
    return subprocess.run(
        [*command, "--out", str(out), *arguments], cwd=HOME, capture_output=True, text=True, check=False
    )


def skeleton(path: Path) -> dict:
    """What does not change with each line of code: parameters that are digests of it, and versions, are left out."""
    spec = next(iter(yaml.safe_load_all(path.read_text(encoding="utf-8"))))
    tasks = {}
    for name, task in spec["root"]["dag"]["tasks"].items():
        inputs = task.get("inputs", {})
        executor = spec["deploymentSpec"]["executors"][spec["components"][name]["executorLabel"]]["container"]
        tasks[name] = {
            "after": sorted(task.get("dependentTasks", [])),
            "cached": task["cachingOptions"].get("enableCache", False),
            "artifacts": {
                key: ".".join(given["taskOutputArtifact"].values())
                for key, given in inputs.get("artifacts", {}).items()
            },
            "of the run": sorted(k for k, v in inputs["parameters"].items() if "componentInputParameter" in v),
            "parameters": sorted(k for k, v in inputs["parameters"].items() if "runtimeValue" in v),
            "makes": {
                key: yaml.safe_load(one["artifactType"]["instanceSchema"])["title"]
                for key, one in spec["components"][name]["outputDefinitions"]["artifacts"].items()
            },
            "runs": [*executor["command"], executor["args"][1]],
            "image": executor["image"],
            "beam": executor["args"][6:],
        }
    return {"asks for": sorted(spec["root"]["inputDefinitions"]["parameters"]), "tasks": tasks}


def test_what_stands_in_the_file(tmp_path, small_encoder):
    out = tmp_path / "pipeline.yaml"
    done = compile_(out, "--set", f"encoder.weights={small_encoder}", "--volume-claim", "memefly")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out}: 12 tasks: ")
    assert skeleton(out) == yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
    spec, platform = yaml.safe_load_all(out.read_text(encoding="utf-8"))
    # No path of this machine, and it goes through KFP's own messages unchanged.
    assert str(HOME) not in out.read_text(encoding="utf-8") and str(small_encoder) not in out.read_text(
        encoding="utf-8"
    )
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert json_format.MessageToDict(parsed) == spec
    assert spec["schemaVersion"] == "2.1.0"
    mounts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert mounts.keys() == spec["deploymentSpec"]["executors"].keys()
    assert mounts["Trainer_executor"] == {"pvcMount": [{"constant": "memefly", "mountPath": "/srv/memefly"}]}


def test_where_data_is_known_what_was_made_of_it_is_reused(tmp_path, memes):
    out = tmp_path / "pipeline.yaml"
    done = compile_(out, "--data", str(memes))
    assert done.returncode == 0, done.stderr
    tasks = skeleton(out)["tasks"]
    assert tasks["CaptionExampleGen"]["cached"]
    assert not tasks["LiveModel"]["cached"] and not tasks["StrictExampleValidator"]["cached"]
    assert "encoder_weights" not in tasks["Trainer"]["of the run"], "imagenet is no file"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--out", "pipeline.json"], "expected a .yaml"),
        (["--out", "no/such/folder/p.yaml"], "there is no folder"),
        (["--out", "p.yaml", "--set", "data.schema=mine.pbtxt"], "a file of this machine"),
        (["--out", "p.yaml", "--data", "no-data"], "is not a folder"),
    ],
)
def test_what_cannot_be_compiled_is_told(tmp_path, arguments, said):
    done = compile_(tmp_path / "p.yaml", *arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.once
def test_a_walk_from_data_to_a_pushed_model(tmp_path, memes, small_encoder, whole):
    out, root = tmp_path / "pipeline.yaml", tmp_path / "root"
    assert compile_(out, "--set", f"encoder.weights={small_encoder}").returncode == 0
    root.mkdir()
    folders = {"root_folder": str(root), "data_folder": str(memes), "encoder_weights": str(small_encoder)}
    walk = Walk(out, tmp_path, folders, HOME)
    for name in kubeflow.in_order(walk.spec):
        done = walk.run(name)
        assert done.returncode == 0, f"{name}:\n{done.stderr[-6000:]}"
        print(f"{name:<24} {', '.join(walk.made[name])}")
    assert not (tmp_path / "pipeline-root" / "LiveModel-0" / "model" / "Format-Serving").exists(), "none was live"

    # The same model with the same metrics as here, and as good as any to serve.
    here, there = (read_manifest(newest_version(of / "serving" / "captioner")) for of in (whole.root, root))
    assert there["digest"] == here["digest"]
    assert there["metrics"]["eval"] == here["metrics"]["eval"]
    assert there["vocabulary"] == here["vocabulary"]

    # A candidate that comes after it is measured against it.
    for name in ("LiveModel", "Evaluator"):
        done = walk.run(name)
        assert done.returncode == 0, done.stderr[-6000:]
    decisions = json.loads(walk.made["Evaluator"]["blessing"]["metadata"]["decisions"])
    assert any("live" in json.dumps(one) or "baseline" in json.dumps(one) for one in decisions), decisions

    # What goes wrong ends the container as it would end the command.
    (memes_copy := tmp_path / "empty").mkdir()
    walk.parameters["data_folder"] = str(memes_copy)
    done = walk.run("CaptionExampleGen")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("memefly: ") and str(memes_copy) in done.stderr.splitlines()[-1]
