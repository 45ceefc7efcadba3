"""The pipeline in parts, each a command of its own, and what W&B is told of them."""

import gzip
import json
import os
from pathlib import Path

import pytest
from wandb_server import KEY, WandbServer

from memefly.errors import UsageError
from memefly.exported.manifest import read_manifest
from memefly.serving import promotion
from memefly.tracking import manifest, sync

pytestmark = pytest.mark.once

JOBS = ("log-raw-data", "process-data", "train", "evaluate")


@pytest.fixture(scope="module")
def server():
    """W&B's, for this module; W&B reads its environment once a process."""
    import wandb

    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    with WandbServer() as server:
        for name in before:
            del os.environ[name]
        os.environ.update(server.environment())
        wandb.teardown()
        yield server
        wandb.teardown()
        for name in server.environment():
            os.environ.pop(name, None)
        os.environ.update(before)


@pytest.fixture(scope="module")
def part(memes, small_encoder):
    from pipeline import config, local_runner
    from pipeline.parts import PARTS

    def part(root: Path, name: str, *overrides: str):
        configuration = config.load("tiny", [f"encoder.weights={small_encoder}", *overrides])
        return local_runner.run(configuration, str(memes), str(root), part=PARTS[name])

    return part


@pytest.fixture(scope="module")
def parted(server, part, tmp_path_factory):
    """A root whose parts have run one after the other, whose model is `stable` then, and what each said."""
    root = tmp_path_factory.mktemp("parted") / "root"
    said = {name: part(root, name) for name in JOBS}
    promotion.promote(root, "latest", "stable", why="the first")
    assert not sync.say(root).left
    return root, said


def versions(server, name: str) -> list[int]:
    return [one.version for one in server.artifacts if one.name == name]


def test_in_order_they_equal_one_run(whole, parted):
    root, said = parted
    one = json.loads((whole.root / "runs" / "latest" / "summary.json").read_text())
    assert one["metrics"] == said["evaluate"].metrics and one["decisions"] == said["evaluate"].decisions
    (ours,), (theirs,) = ([*(r / "serving" / "captioner").iterdir()] for r in (root, whole.root))
    for key in ("digest", "vocabulary", "encoder", "metrics"):
        seconds = {"seconds": None}
        mine, other = read_manifest(ours)[key], read_manifest(theirs)[key]
        assert mine == other if key != "metrics" else mine | seconds == other | seconds, key
    ran = {name: [c["name"] for c in summary.components if c["state"] == "ran"] for name, summary in said.items()}
    assert [*ran["log-raw-data"], *ran["process-data"], *ran["train"], *ran["evaluate"]] == [
        c["name"] for c in one["components"]
    ], "each node once"


def test_wandb_sees_the_whole_way(server, parted):
    jobs = {name: run["jobType"] for name, run in server.runs.items()}
    assert sorted(jobs.values()) == sorted([*JOBS, "promote"])
    made = {one.name: one for one in server.artifacts if not one.name.startswith("run-")}  # which hold W&B's tables
    way = {name: (jobs[one.made_by], {jobs[user] for user in one.used_by}) for name, one in made.items()}
    assert way == {
        "raw-data": ("log-raw-data", {"process-data"}),
        "dataset": ("process-data", {"train", "evaluate"}),
        "features": ("process-data", {"train"}),
        "vocabulary": ("process-data", {"train"}),
        "captioner": ("train", {"evaluate", "promote"}),
        "metrics": ("evaluate", set()),
        "report": ("evaluate", set()),
    }
    root, said = parted
    version = Path(said["evaluate"].pushed).name
    digest = read_manifest(said["evaluate"].pushed)["digest"]
    assert {digest[:16], "latest", f"version-{version}", "blessed", "stable"} < {*made["captioner"].aliases}
    assert f"run-{said['process-data'].run_id}" in made["dataset"].aliases
    assert made["captioner"].manifest["contents"]["saved_model.pb"]["size"] > 1000
    assert "digest.txt" in made["dataset"].manifest["contents"]
    (ref,) = [one for name, one in made["features"].manifest["contents"].items() if name != "digest.txt"]
    assert ref["ref"].startswith("memefly://features/") and json.loads(made["features"].metadata)["location"] == (
        "root://artifacts/ImageFeatures/features/" + ref_number(root)
    )
    assert json.loads(made["metrics"].metadata)["bleu4"] == said["evaluate"].metrics["bleu4"]


def ref_number(root: Path) -> str:
    (folder,) = (root / "artifacts" / "ImageFeatures" / "features").iterdir()
    return folder.name


def test_no_key_is_kept(parted):
    """Nor said: in ML Metadata, W&B's own logs, artifacts, reports, cards."""
    root, _ = parted
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    content = {path: path.read_bytes() for path in files}
    content |= {path: gzip.decompress(held) for path, held in content.items() if path.suffix == ".gz"}
    assert len(content) > 50 and [path for path, held in content.items() if KEY.encode() in held] == []


def test_the_same_content_is_never_a_second_version(server, parted, part):
    root, _ = parted
    before, runs = [one.name for one in server.artifacts], len(server.runs)
    assert part(root, "log-raw-data").components[0]["state"] == "cached"
    assert [one.name for one in server.artifacts] == before and len(server.runs) == runs
    # Nor where the manifest is lost and all of it is said once more.
    (root / "wandb" / manifest.SAID).unlink()
    told: list[str] = []
    again = sync.sync(root, told.append)
    assert not again.left and again.entries == 5 and len(told) >= 12
    assert {v for name in ("raw-data", "captioner", "metrics") for v in versions(server, name)} == {0}
    assert sync.sync(root) == sync.Said()


def test_it_goes_on_only_from_the_same_data_and_configuration(parted, part):
    root, _ = parted
    with pytest.raises(UsageError, match=r"run 2\S+: other custom_config.min_count of Transform"):
        part(root, "train", "text.min_count=2")
    with pytest.raises(UsageError, match="other cleaning of CaptionExampleGen"):
        part(root, "process-data", "data.cleaning=[control]")
    assert part(root, "train").components[6] == {
        "name": "Trainer",
        "state": "cached",
        "seconds": pytest.approx(0, abs=9),
    }


def test_a_break_amidst_is_gone_on_with(server, parted, tmp_path, monkeypatch):
    """From another machine, too: nothing of it is bound to where ROOT was."""
    import shutil

    root = Path(shutil.copytree(parted[0], tmp_path / "elsewhere", symlinks=True))
    (root / "wandb" / manifest.SAID).unlink()
    with WandbServer() as other:
        monkeypatch.setenv("WANDB_BASE_URL", other.url)
        import wandb

        wandb.teardown()
        other.behave("500", after=25)
        first = sync.sync(root)
        assert first.left and first.entries < 5
        other.behave("well")
        wandb.teardown()
        second = sync.sync(root)
        assert not second.left and first.entries + second.entries == 5
        assert {one.version for one in other.artifacts} == {0} and len(other.runs) == 5
        (model,) = [one for one in other.artifacts if one.name == "captioner"]
        assert "stable" in model.aliases
    wandb.teardown()
