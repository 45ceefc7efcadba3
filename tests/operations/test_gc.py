"""What is deleted is what nobody needs: the cache, labels, the baseline and a rollback are as before."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from memefly.operations import gc, runs
from memefly.serving import promotion

pytestmark = [pytest.mark.slow, pytest.mark.once]


def paths(found: gc.Plan, kind: str) -> list[str]:
    return [one.path for one in found.waste if one.kind == kind]


def states(summary) -> dict[str, str]:
    return {one["name"]: one["state"] for one in summary.components if one["name"] != "LiveModel"}


def test_what_nobody_needs_is_said_then_deleted_and_all_else_goes_on(whole, memes, run_in, tmp_path):
    root = whole.copy(tmp_path / "root")
    promotion.promote(root, "latest", "stable")
    first = runs.find(root, "latest")
    other = Path(shutil.copytree(memes, tmp_path / "other"))
    lines = (other / "captions.jsonl").read_text().splitlines()
    (other / "captions.jsonl").write_text("\n".join(lines[:50]) + "\n")
    from PIL import Image

    for i in range(2):  # two pictures that only a run of no use ever had
        Image.new("RGB", (64, 64), (i * 90, 10, 200)).save(other / "images" / f"new{i}.png")
        with (other / "captions.jsonl").open("a") as file:
            line = {"image": f"images/new{i}.png", "captions": ["a plain picture"], "split": "train"}
            file.write(json.dumps(line) + "\n")
    useless = run_in(root, other, "ImageFeatures")
    unblessed = run_in(root, memes, "Evaluator", "training.max_steps=2", "gate.floors.bleu4=0.9")
    part = run_in(root, memes, "ImportSchemaGen")
    assert useless.features["computed"] == 2 and not unblessed.blessed

    # The newest run is a part without consequence: it alone is kept for its youth.
    found = gc.plan(root, keep=1, days=7)
    assert set(found.kept) == {part.run_id, first.run_id}
    assert found.kept[first.run_id] == [
        "the newest that was blessed", "its model is what the next is measured against", "stable is on its version",
    ]  # fmt: skip
    nodes = {path.split("/")[1] for path in paths(found, "artifacts")}
    assert nodes == {"CaptionExampleGen", "ImageFeatures", "StatisticsGen", "Trainer", "Evaluator"} - (
        {"StatisticsGen"} if "skipped" in states(useless)["StatisticsGen"] else set()
    )
    assert len(paths(found, "features")) == 2 and not paths(found, "wandb") and not paths(found, "checkpoints")
    before = sorted(str(path) for path in root.rglob("*"))
    assert "MiB" in "\n".join(gc.describe(found)) and sorted(str(path) for path in root.rglob("*")) == before

    # A sweep's trials are not of no use: the best has only to be judged.
    (root / "sweeps" / "rates").mkdir(parents=True)
    (root / "sweeps" / "rates" / "trials.jsonl").write_text(json.dumps({"run_id": unblessed.run_id}) + "\n")
    assert gc.plan(root, keep=1, days=7).kept[unblessed.run_id] == ["a trial of the sweep rates"]
    shutil.rmtree(root / "sweeps")

    # What is old is waste, unless it has yet to be sent.
    old = time.time() - 10 * 86400
    (root / "checkpoints" / "aborted").mkdir(parents=True)
    (root / "serving" / ".pushing-captioner-1").mkdir()
    runs_of_wandb = sorted(path for path in (root / "wandb").glob("offline-run-*"))
    (sent,) = runs_of_wandb[0].glob("*.wandb")
    sent.with_name(sent.name + ".synced").touch()
    for path in [
        root / "checkpoints" / "aborted",
        root / "serving" / ".pushing-captioner-1",
        *root.rglob("wandb/**/*"),
    ]:
        os.utime(path, (old, old), follow_symlinks=False)
    found = gc.plan(root, keep=1, days=7)
    assert paths(found, "wandb") == [str(runs_of_wandb[0].relative_to(root))], "others wait to be sent"
    assert paths(found, "checkpoints") == ["checkpoints/aborted"]
    assert paths(found, "leftovers") == ["serving/.pushing-captioner-1"]

    gc.collect(root, found)
    for one in found.waste:
        assert not (root / one.path).exists()
    assert gc.plan(root, keep=1, days=7).waste == []
    again = run_in(root, memes, None)
    assert set(states(again).values()) == {"cached"}, "all that the last blessed run has is there"
    assert again.baseline is None and again.pushed == str(root / "serving" / "captioner" / str(first.version))
    judged = run_in(root, memes, "Evaluator", "training.max_steps=3")
    assert judged.baseline == pytest.approx(first.metrics)
    back = run_in(root, other, "ImageFeatures")
    assert states(back)["CaptionExampleGen"] == "ran" and back.features["computed"] == 2, "made anew where it is wanted"


def test_a_store_that_is_a_link_is_left_alone(whole, tmp_path):
    root = whole.copy(tmp_path / "root")
    (root / "features").rename(tmp_path / "shared")
    (root / "features").symlink_to(tmp_path / "shared")
    found = gc.plan(root, keep=1)
    assert not paths(found, "features") and "features: a link, others may use what is there" in found.unsure
