"""A sweep as a user meets it: two trials on sixty memes, the same again, and a run of the best."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
HOME = Path(__file__).parents[2]
SPACE = """\
method: grid
metric: {name: val/cider, goal: maximize}
parameters:
  training.learning_rate: {values: [0.01, 1e-6]}
  training.max_steps: {value: 12}
"""


@pytest.fixture(scope="module")
def memefly(memes, small_encoder):
    def memefly(command: str, root: Path, *arguments: str) -> subprocess.CompletedProcess:
        # A run in this process leaves the name of its service of W&B, which is gone by now.
        environment = {k: v for k, v in os.environ.items() if k not in ("WANDB_API_KEY", "WANDB_SERVICE")}
        given = ["--data", str(memes), "--root", str(root), "--set", f"encoder.weights={small_encoder}", *arguments]
        return subprocess.run(
            [sys.executable, "-m", "pipeline.command", command, *given],
            capture_output=True, text=True, cwd=HOME, env=environment,
        )  # fmt: skip

    return memefly


@pytest.fixture(scope="module")
def swept(memefly, whole, tmp_path_factory):
    """A root that was swept once, and what the sweep said. What comes before the Trainer is there from a run; its model
    was never pushed."""
    root = whole.copy(tmp_path_factory.mktemp("swept") / "root")
    for name in ("serving", "wandb"):
        shutil.rmtree(root / name)
    (root / "space.yaml").write_text(SPACE)
    done = memefly("sweep", root, "--config", "tiny", "--space", str(root / "space.yaml"), "--name", "rates")
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done


def trials(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "sweeps" / "rates" / "trials.jsonl").read_text().splitlines()]


def states(root: Path, run: str) -> dict:
    said = json.loads((root / "runs" / run / "summary.json").read_text())
    return {component["name"]: component["state"] for component in said["components"]}


def test_each_trial_is_a_run_of_the_trainer(swept):
    root, done = swept
    assert done.stderr == "" and len(done.stdout.splitlines()) < 20, "quiet otherwise"
    assert "[ 1/2] training.learning_rate=0.01  training.max_steps=12" in done.stdout
    assert "2 of 2 trials made" in done.stdout
    first, second = trials(root)
    assert (first["state"], second["state"]) == ("ok", "ok")
    assert first["metrics"]["cider"] > second["metrics"]["cider"], "who learns beats who does not"
    for trial in (first, second):
        of = states(root, trial["run_id"])
        assert of.pop("Trainer") == "ran" and set(of.values()) == {"skipped"}
    made = sorted(path.name for path in (root / "runs").glob("2*"))
    assert len(made) == 4, "the run before, the nodes before the Trainer, and the two trials"
    before = states(root, made[1])
    assert (before.pop("ImportSchemaGen"), before.pop("Transform")) == ("cached", "cached")
    assert set(before.values()) == {"cached", "skipped"}
    assert not (root / "serving").exists() and not (root / "checkpoints").exists()
    assert len(list((root / "wandb").rglob("*.wandb"))) == 2, "W&B tracked each offline"


def test_the_same_again_runs_nothing(swept, memefly):
    root, _ = swept
    before = sorted((root / "runs").iterdir()), trials(root)
    arguments = ("--config", "tiny", "--space", str(root / "space.yaml"), "--name", "rates", "--json")
    done = memefly("sweep", root, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["best"] == before[1][0] and said["trials"] == before[1]
    assert (sorted((root / "runs").iterdir()), trials(root)) == before
    wrong = memefly("sweep", root, *arguments, "--set", "training.epochs=1")
    assert wrong.returncode == 2 and "was begun with another config; take another --name" in wrong.stderr


def test_a_run_of_the_best_has_only_to_judge_it(swept, memefly):
    root, _ = swept
    best = root / "sweeps" / "rates" / "best.yaml"
    done = memefly("run", root, "--config", str(best))
    assert done.returncode == 0, done.stdout + done.stderr
    of = states(root, "latest")
    assert {of[name] for name in ("CaptionExampleGen", "ImageFeatures", "Transform", "Trainer")} == {"cached"}
    assert of["Evaluator"] == of["VersionPusher"] == "ran"
    (version,) = (root / "serving" / "captioner").iterdir()
    manifest = json.loads((version / "memefly.json").read_text())
    assert manifest["metrics"]["val"] == trials(root)[0]["metrics"]
    assert manifest["config"]["training"]["learning_rate"] == 0.01


def test_what_the_trainer_does_not_read_is_refused(memefly, tmp_path):
    (tmp_path / "space.yaml").write_text("method: grid\nparameters: {text.min_count: {values: [1, 2]}}")
    done = memefly("sweep", tmp_path / "root", "--config", "tiny", "--space", str(tmp_path / "space.yaml"))
    assert done.returncode == 2 and "Set it for a whole sweep, --set text.min_count=VALUE" in done.stderr
    assert not list((tmp_path / "root" / "sweeps").iterdir())
