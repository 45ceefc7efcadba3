"""The pipeline compiled for Kubeflow: what stands in the file, and a walk through it from data to a pushed model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from whole_run import HOME

from memefly.errors import MemeflyError
from memefly.exported.manifest import newest_version, read_manifest

pytest.importorskip("kfp.pipeline_spec", reason="no kfp-pipeline-spec in this lane")

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline import config, kubeflow
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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, small_encoder) -> Path:
    """By the command, as the README has it."""
    out = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    done = compile_(out, "--set", f"encoder.weights={small_encoder}", "--volume-claim", "memefly")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out}: 12 tasks: ")
    return out


def test_what_stands_in_the_file(compiled, small_encoder):
    assert skeleton(compiled) == yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
    content = compiled.read_text(encoding="utf-8")
    assert str(HOME) not in content and str(small_encoder) not in content, "no path of this machine"
    spec, platform = yaml.safe_load_all(content)
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert json_format.MessageToDict(parsed) == spec, "KFP's own messages hold all of it"
    assert spec["schemaVersion"] == "2.1.0"
    mounts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert mounts.keys() == spec["deploymentSpec"]["executors"].keys()
    assert mounts["Trainer_executor"] == {"pvcMount": [{"constant": "memefly", "mountPath": "/srv/memefly"}]}


def test_where_data_is_known_what_was_made_of_it_is_reused(tmp_path, memes):
    out = tmp_path / "pipeline.yaml"
    kubeflow.compile_to(out, config.load("tiny", []), image="registry/memefly:1", data=str(memes))
    tasks = skeleton(out)["tasks"]
    assert tasks["CaptionExampleGen"]["cached"]
    assert not tasks["LiveModel"]["cached"] and not tasks["StrictExampleValidator"]["cached"]
    assert "encoder_weights" not in tasks["Trainer"]["of the run"], "imagenet is no file"


@pytest.mark.parametrize(
    ("out", "settings", "data", "said"),
    [
        ("pipeline.json", [], None, "expected a .yaml"),
        ("no/such/folder/p.yaml", [], None, "there is no folder"),
        ("p.yaml", ["data.schema=mine.pbtxt"], None, "a file of this machine"),
        ("p.yaml", ["storage.features=/mnt/features"], None, "under a run's root_folder"),
        ("p.yaml", ["encoder.projection=/srv/p.npz"], None, "a file of this machine, which no container has"),
        ("p.yaml", [], "no-data", "is not a folder"),
    ],
)
def test_what_cannot_be_compiled_is_told(tmp_path, monkeypatch, out, settings, data, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MemeflyError, match=said) as told:
        kubeflow.compile_to(out, config.load("tiny", settings), image="registry/memefly:1", data=data)
    assert told.value.exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.once
def test_a_walk_from_data_to_a_pushed_model(compiled, tmp_path, memes, small_encoder, whole):
    root = tmp_path / "root"
    root.mkdir()
    folders = {"root_folder": str(root), "data_folder": str(memes), "encoder_weights": str(small_encoder)}
    walk = Walk(compiled, tmp_path, folders, HOME)
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
