"""Models and roots cross between the lanes: what one made, the other captions, judges, makes smaller and serves.

Every lane reads the stored models of both. Where a Python of the other lane is at hand too, MEMEFLY_OTHER_LANE names it
(`.ci/run` does so), and fresh models and a whole root go over and come back.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import store
from starlette.testclient import TestClient

HOME = Path(__file__).parents[2]
LANES = ("1.16", "1.21")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return store.unpack(store.DATA, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=LANES)
def stored(request, tmp_path_factory):
    """The model that a lane pushed, and what it said there."""
    (model,) = store.unpack(store.archive_of(request.param), tmp_path_factory.mktemp("model")).iterdir()
    return model, json.loads((model / store.SAID).read_text())


def test_the_stored_models_are_of_their_lanes(tmp_path):
    for lane in LANES:
        (model,) = store.unpack(store.archive_of(lane), tmp_path / lane).iterdir()
        versions = json.loads((model / "memefly.json").read_text())["versions"]
        assert versions["tfx"] == f"{lane}.0"
    assert store.lane() in LANES


def test_a_stored_model_says_the_same_in_every_form(stored, data, tmp_path):
    model, said = stored
    assert len(set(said["captions"]["float32"].values())) > 20, "a model that says one thing shows nothing"
    # Smaller forms of what this lane itself made are tested in tests/exported.
    own = json.loads((model / "memefly.json").read_text())["versions"]["tfx"].startswith(store.lane())
    for form, path in ({"float32": model} if own else store.forms(model, data, tmp_path)).items():
        found = store.captions(path, data)
        assert len(found) == 50
        apart = [name for name, caption in found.items() if caption != said["captions"][form][name]]
        # Converters to eight bits round by rules of their own, each lane's: 2 and 6 captions were seen to differ.
        assert len(apart) <= (10 if form == "int8" else 0), (form, apart)


def test_captions_come_without_a_word_of_the_libraries(stored, data):
    model, said = stored
    picture = data / "images" / "00.jpg"
    command = [sys.executable, "-m", "pipeline.command", "caption", "--model", str(model), str(picture)]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
    assert done.stdout == f"{picture}: {said['captions']['float32']['00.jpg']}\n" and done.stderr == ""


def test_a_stored_model_is_judged_alike(stored, data):
    model, said = stored
    metrics = json.loads(store.memefly("evaluate", "--model", model, "--data", data, "--json"))["metrics"]
    assert {name: metrics[name] for name in said["metrics"]} == pytest.approx(said["metrics"], abs=1e-9)


def test_a_stored_model_is_served(stored, data):
    from memefly.serving.local_model import LocalModel
    from memefly.serving.service import create_app

    model, said = stored
    pictures = sorted((data / "images").iterdir())
    with TestClient(create_app(LocalModel(model))) as client:
        files = [("pictures", (p.name, p.read_bytes(), "image/jpeg")) for p in pictures[:16]]
        results = client.post("/v1/captions", files=files).json()["results"]
    assert [r["captions"][0]["caption"] for r in results] == [
        said["captions"]["float32"][p.name] for p in pictures[:16]
    ]


# --- with the other lane at hand ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other():
    """Runs the command line in the other lane."""
    python = os.environ.get("MEMEFLY_OTHER_LANE")
    if not python:
        pytest.skip("needs a Python of the other lane, which MEMEFLY_OTHER_LANE names")
    home = {"cwd": HOME, "capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": str(HOME)}}
    version = "from importlib import metadata as m; import memefly; print(m.version('tfx'), memefly.__file__)"
    lane, of = subprocess.run([python, "-c", version], check=True, **home).stdout.split()
    assert not lane.startswith(store.lane()), "MEMEFLY_OTHER_LANE is of this lane"
    assert Path(of).is_relative_to(HOME), "the other lane would run other code"
    return lambda *arguments: subprocess.run([python, "-m", "pipeline.command", *map(str, arguments)], **home)


def states(root: Path) -> dict[str, str]:
    summary = json.loads((root / "runs" / "latest" / "summary.json").read_text())
    assert summary["error"] is None
    return {node["name"]: node["state"] for node in summary["components"]}


@pytest.fixture(scope="module")
def here():
    def run(*arguments):
        command = [sys.executable, "-m", "pipeline.command", *map(str, arguments)]
        return subprocess.run(command, cwd=HOME, capture_output=True, text=True)

    return run


@pytest.mark.parametrize("there_first", [False, True], ids=["begun here", "begun there"])
def test_a_root_goes_over_and_comes_back(there_first, other, here, whole, memes, small_encoder, data, tmp_path):
    first, second = (other, here) if there_first else (here, other)
    root = tmp_path / "root"
    command = ("run", "--data", memes, "--root", root, "--config", "tiny", "--set", f"encoder.weights={small_encoder}")
    if there_first:
        done = first(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        whole.copy(root)
    (model,) = (root / "serving" / "captioner").iterdir()
    pictures = sorted((data / "images").iterdir())
    said = [one("caption", "--model", model, *pictures) for one in (first, second)]
    assert said[0].returncode == 0 and len(said[0].stdout.splitlines()) == 50
    assert said[0].stdout == said[1].stdout

    done = second(*command)  # goes on with what is there
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(root)["Trainer"] == "cached" and states(root)["ImageFeatures"] == "cached"
    assert [p.name for p in (root / "serving" / "captioner").iterdir()] == [model.name]
    done = second(*command, "--set", "training.seed=5")  # and with something new, beside the live model of the first
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert states(root)["Transform"] == "cached" and states(root)["Trainer"] == "ran"
    summary = json.loads((root / "runs" / "latest" / "summary.json").read_text())
    assert summary["baseline"] is not None

    done = first(*command)  # back again
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert states(root)["Trainer"] == "cached"
