"""The pipeline as a user meets it: the command line, a small encoder, sixty memes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import whole_run
from wandb_server import WandbServer

from memefly.datasets.splits import SPLITS, Splitting
from memefly.operations import diff, lineage, runs

HOME = Path(__file__).parents[2]
NODES = [
    "CaptionExampleGen", "ImportSchemaGen", "ImageFeatures", "StatisticsGen", "StrictExampleValidator", "Transform",
    "Trainer", "LiveModel", "ServingValidator", "Evaluator", "VersionPusher", "Tracking",
]  # fmt: skip


@pytest.fixture(scope="module")
def command(memes, small_encoder):
    def command(root: Path, *arguments: str) -> list[str]:
        return whole_run.command(memes, root, small_encoder, *arguments)

    return command


@pytest.fixture(scope="module")
def run(command):
    def run(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"} | variables
        return subprocess.run(command(root, *arguments), capture_output=True, text=True, cwd=HOME, env=environment)

    return run


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory) -> dict[str, str]:
    """An environment in which nothing but a ROOT is there to write to: empty folders, of which the first is TMPDIR."""
    folders = {name: tmp_path_factory.mktemp(name.lower()) for name in ("TMPDIR", "HOME")}
    return {name: str(folder) for name, folder in folders.items()}


def left(places: dict[str, str]) -> list[str]:
    return [str(path) for place in places.values() for path in Path(place).rglob("*")]


def summary(root: Path) -> dict:
    return json.loads((root / "runs" / "latest" / "summary.json").read_text())


def versions(root: Path) -> list[str]:
    return sorted(p.name for p in (root / "serving" / "captioner").iterdir())


@pytest.fixture(scope="module")
def finished(whole, tmp_path_factory) -> Path:
    """A root whose pipeline has run once, undisturbed."""
    return whole.copy(tmp_path_factory.mktemp("finished") / "root")


def test_one_command_makes_a_gated_model(whole, finished, memes):
    root = finished
    lines = whole.stdout.splitlines()
    assert all(name in whole.stdout for name in NODES)
    assert len(lines) < 60 and whole.stderr == "", "quiet otherwise"
    said = summary(root)
    assert [c["name"] for c in said["components"]] == NODES
    assert {c["state"] for c in said["components"]} == {"ran"}
    assert (said["data"]["images"], said["data"]["captions"]) == (60, 300)
    assert said["features"] == {"computed": 60, "reused": 0}
    assert said["blessed"] and said["baseline"] is None and said["gate"] == []
    assert 0 <= said["metrics"]["bleu4"] <= said["metrics"]["bleu1"] <= 1
    assert versions(root) == [Path(said["pushed"]).name]

    manifest = json.loads((root / "serving" / "captioner" / versions(root)[0] / "memefly.json").read_text())
    assert manifest["metrics"]["eval"] == said["metrics"]
    assert manifest["encoder"]["digest"] == said["encoder"]["digest"]
    sides = Counter(split for split, _ in Splitting.of_model(manifest["config"]).of(memes, SPLITS))
    assert sides == {split: count["images"] for split, count in said["data"]["splits"].items()}
    report = (root / "runs" / "latest" / "report.html").read_text()
    assert (
        "Blessed and pushed" in report and report.count("<figure data-tags") == said["data"]["splits"]["eval"]["images"]
    )
    assert "learning curves" in report and "floors.bleu4" in report and "data-map" in report
    assert {one["by"] for one in said["slices"]} == {"group", "captions_per_picture", "caption_length"}
    assert [d["rule"] for d in said["decisions"]] == ["floors.bleu4"] and said["changes"] == {}
    low, high = said["intervals"]["bleu4"]
    assert low <= said["metrics"]["bleu4"] <= high
    assert said["data"]["statistics"]["train"]["captions_per_picture"] == [5, 5.0, 5]
    assert 'src="http' not in report and 'href="http' not in report
    assert list((root / "wandb").rglob("*.wandb")), "W&B tracked it offline"
    from_where = lineage.read(root, "latest")
    assert (from_where.run, from_where.version, from_where.digest) == (
        said["run_id"], int(Path(said["pushed"]).name), manifest["digest"],
    )  # fmt: skip
    assert from_where.data["images"] == 60 and len(from_where.data["digest"]) == 64
    assert from_where.baseline is None and from_where.gate == said["decisions"]
    assert from_where.configuration == said["configuration"] and from_where.configuration["training"]["epochs"] == 4
    assert {node.made_in for name, node in from_where.nodes.items() if name != "LiveModel"} == {said["run_id"]}
    assert "  Transform --> Trainer" in lineage.mermaid(from_where).splitlines()
    tables = {path.name.partition("_")[0] for path in (root / "wandb").rglob("table/eval/*.table.json")}
    assert tables == {"metrics", "gate", "slices", "pictures", "projection", "templates"}
    card = root / "serving" / "captioner" / versions(root)[0] / "README.md"
    assert f"`{manifest['digest']}`" in card.read_text() and "| train | " in card.read_text()
    assert (card.parent / "card" / "worst-1.jpg").is_file() and card.with_suffix(".html").is_file()
    assert not (root / "checkpoints").exists()


def test_nothing_is_left_outside_the_root(whole):
    assert whole.left == []


@pytest.mark.once
def test_nothing_changed_nothing_runs(finished, run):
    root = finished
    before = versions(root)
    done = run(root)
    assert done.returncode == 0
    states = {c["name"]: c["state"] for c in summary(root)["components"]}
    assert {n: s for n, s in states.items() if n != "LiveModel"} == {n: "cached" for n in NODES if n != "LiveModel"}
    assert versions(root) == before
    assert summary(root)["features"] == {"computed": 0, "reused": 60}
    assert summary(root)["blessed"] and summary(root)["pushed"]


@pytest.mark.once
def test_a_model_that_has_not_earned_it_is_not_pushed(finished, run):
    root = finished
    before = versions(root)
    done = run(root, "--set", "training.max_steps=1", "--set", "gate.floors.bleu4=0.9")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "NOT blessed, nothing pushed" in done.stdout
    assert "bleu4 is 0.0000, must be at least 0.9000 (gate.floors.bleu4)" in done.stdout
    said = summary(root)
    assert not said["blessed"] and said["pushed"] is None
    assert said["baseline"] is not None, "the live model is what it is measured against"
    assert set(said["changes"]["bleu4"]) == {"value", "low", "high", "p"}
    broken = [d for d in said["decisions"] if not d["passed"]]
    assert [(d["rule"], d["threshold"]) for d in broken] == [("floors.bleu4", 0.9)]
    assert versions(root) == before
    first, second = reversed(runs.read(root)[:2])
    found = diff.compare(root, first, second)
    changed = {change.name: (change.before, change.after) for change in found.configuration}
    assert changed == {"training.max_steps": ("null", "1"), "gate.floors.bleu4": ("0.0", "0.9")}
    assert found.data == [] and {change.name for change in found.code} <= {"commit"}, "nothing but what is edited here"
    why = "the cache had it: a run before was given the same"
    assert (found.nodes["Transform"].after, found.nodes["Transform"].why) == ("cached", why)
    assert (found.nodes["Trainer"].after, found.nodes["Trainer"].why) == (
        "ran",
        "custom_config.training.max_steps null -> 1",
    )
    assert found.nodes["ServingValidator"].why == "other model"
    # The first run's model was live: the gate compared the same captions, by the same draws.
    for metric, change in said["changes"].items():
        score = found.metrics[metric]
        assert score.difference == pytest.approx(change["value"], abs=1e-9), metric
        # Of references that are as near, chrF may take another one.
        ends = pytest.approx((change["low"], change["high"]), abs=1e-3 if metric == "chrf" else 1e-9)
        assert (score.interval.low, score.interval.high) == ends, metric
    assert "Not blessed; nothing was pushed" in (root / "runs" / "latest" / "report.html").read_text()


@pytest.mark.once
def test_part_of_the_pipeline(finished, run):
    root = finished
    beside = run(root, "--from", "StatisticsGen", "--to", "StrictExampleValidator")  # has nothing for the next part
    assert beside.returncode == 0, beside.stdout + beside.stderr
    done = run(root, "--from", "Trainer", "--to", "Trainer", "--set", "training.max_steps=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on from run" in done.stdout and "has no Transform" in done.stdout
    states = {c["name"]: c["state"] for c in summary(root)["components"]}
    assert states["Trainer"] == "ran"
    assert {s for n, s in states.items() if n != "Trainer"} == {"skipped"}
    wrong = run(root, "--from", "Training")
    assert wrong.returncode == 2 and "no such node; the nodes are CaptionExampleGen" in wrong.stderr


@pytest.mark.once
def test_another_network_goes_all_the_way(finished, run, memes):
    """Trained, exported, gated against another kind of network, pushed; and the pushed model captions a picture. An
    ensemble, with an encoder of its own, tuned in a last stage. (Other kinds are exported in tests/exported.)"""
    root = finished
    before, first = versions(root), json.loads(min((root / "runs").glob("2*/summary.json")).read_text())["run_id"]
    tuning = ["--set", "training.fine_tuning.epochs=1", "--set", "training.fine_tuning.behind=conv2d_1"]
    settings = ["--set", "network.kind=merge", "--set", "training.max_steps=20", "--set", "network.members=2"]
    done = run(root, "--from", "Trainer", *settings, *tuning)
    assert done.returncode == 0, done.stdout + done.stderr
    said = summary(root)
    assert said["blessed"] and said["baseline"] is not None and Path(said["pushed"]).is_dir()
    manifest = json.loads((Path(said["pushed"]) / "memefly.json").read_text())
    assert manifest["config"]["network"]["kind"] == "merge"
    assert manifest["metrics"]["val"]["stage"] == "fine_tuning"
    assert manifest["encoder"]["digest"] != said["encoder"]["digest"]
    from_where = lineage.read(root, "latest")
    assert str(from_where.baseline) == before[-1] and from_where.nodes["Transform"].made_in == first
    assert {"  CaptionExampleGen --> ImageFeatures", "  Trainer --> Evaluator"} < {
        *lineage.mermaid(from_where).splitlines()
    }
    picture = next((memes / "images").iterdir())
    command = [sys.executable, "-m", "pipeline.command", "caption", "--model", said["pushed"], "--beam", "4"]
    captioned = subprocess.run([*command, str(picture)], capture_output=True, text=True, cwd=HOME)
    assert captioned.returncode == 0, captioned.stderr
    assert picture.name in captioned.stdout


def kill_when(process: subprocess.Popen, condition, seconds: float = 300) -> None:
    """Kills the process with SIGKILL as soon as `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.once
def test_killed_again_and_again_it_ends_as_undisturbed(finished, command, run, tmp_path, nowhere):
    undisturbed = finished
    root, out = tmp_path / "root", tmp_path / "out.txt"

    def kill(condition) -> None:
        with out.open("w") as stream:
            process = subprocess.Popen(
                command(root), stdout=stream, stderr=subprocess.STDOUT, cwd=HOME, env=os.environ | nowhere
            )
            kill_when(process, condition)

    kill(lambda: any((root / "features").rglob("*.f16")))  # in ImageFeatures, some pictures in
    kill(lambda: any((root / "checkpoints").rglob("checkpoint")))  # in Trainer, after a checkpoint
    kill(lambda: "VersionPusher" in out.read_text())  # in VersionPusher
    assert left(nowhere), "what is killed leaves what it has"
    done = run(root, **nowhere)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = summary(root), summary_of_first(undisturbed)
    assert ours["blessed"] and ours["metrics"] == pytest.approx(theirs["metrics"])
    assert len(versions(root)) == 1 and not list((root / "serving").glob(".*"))
    first = undisturbed / "serving" / "captioner" / versions(undisturbed)[0]
    digests = [json.loads((folder / "memefly.json").read_text())["digest"] for folder in (first, Path(ours["pushed"]))]
    assert digests[0] == digests[1], "the same weights, to the bit"
    assert left(nowhere) == [], "and the next run takes that away"


def summary_of_first(root: Path) -> dict:
    return json.loads(min((root / "runs").glob("2*/summary.json")).read_text())


@pytest.mark.once
def test_wandb_that_hangs_holds_no_run_and_a_wrong_key_is_told_first(finished, run, tmp_path):
    with WandbServer() as server:
        wrong = server.environment() | {"WANDB_API_KEY": "9" * 40}
        done = run(tmp_path / "new", **wrong)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith("memefly: WANDB_API_KEY: W&B at ") and "does not know this key" in done.stderr
        assert summary(tmp_path / "new")["components"] == [] and not (tmp_path / "new" / "artifacts").exists()
        root = Path(shutil.copytree(finished, tmp_path / "root", symlinks=True, ignore=lambda *_: {"wandb"}))
        done = run(root, "--from", "ImportSchemaGen", "--to", "ImportSchemaGen", **wrong)
        assert done.returncode == 0, "no node of this part speaks to W&B"

        server.behave("hang")
        shorter = ["--set", "training.max_steps=5"]
        done = run(root, "--from", "Trainer", "--to", "Trainer", *shorter, **server.environment())
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("does not answer within 5 s; from here on runs are kept in ROOT/wandb") == 1
        assert "W&B" not in done.stderr
        assert [path.parent.name.startswith("offline-run-") for path in root.glob("wandb/*run-*/*.wandb")] == [True]
        assert len(server.asked) == 2, "once each where a key is looked at"
