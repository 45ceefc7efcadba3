"""Drift from what the last blessed model was trained on, and skew between train and eval."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memefly.errors import AnomalyError
from memefly.operations import runs

COLD = "a small dog sleeps on the warm mat {}"
HOT = "seventeen enormous purple rockets were flying quickly over some of those mountains near cities number {}"


def data(folder, train: str, other: str, sizes=(32, 32)):
    (folder / "images").mkdir(parents=True)
    with (folder / "captions.jsonl").open("w") as lines:
        for i in range(60):
            split = ("train", "train", "train", "val", "eval")[i % 5]
            side = sizes[0] if split == "train" else sizes[1]
            pixels = np.random.default_rng(i + side).integers(0, 255, (side, side, 3), np.uint8)
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, format="PNG")
            (folder / "images" / f"{i}.png").write_bytes(out.getvalue())
            said = (train if split == "train" else other).format(i % 7)
            line = {"image": f"images/{i}.png", "captions": [said, f"{said} now"], "split": split, "group": f"g{i % 3}"}
            lines.write(json.dumps(line) + "\n")
    return folder


def told(summary) -> dict[tuple[str, str], bool]:
    return {(row["feature"], row["against"]): row["anomaly"] for row in summary.data["drift"]}


@pytest.mark.once
def test_train_and_eval_that_are_alike_and_that_are_not(tmp_path, run_to):
    summary = run_to(data(tmp_path / "alike", COLD, COLD), "StrictExampleValidator")
    assert told(summary) == {(name, "eval"): False for name in ("caption_words", "words", "group", "width", "height")}
    other = data(tmp_path / "other", COLD, HOT, (32, 64))
    summary = run_to(other, "StrictExampleValidator", root="second")
    assert {name for (name, _), anomaly in told(summary).items() if anomaly} == {
        "caption_words", "words", "width", "height",
    }  # fmt: skip
    report = (tmp_path / "second" / "runs" / "latest" / "report.html").read_text()
    assert "drift: 4 of 5 comparisons over their threshold" in report and report.count('class="plot"') >= 5
    row = next(row for row in summary.data["drift"] if row["feature"] == "words")
    assert dict(row["here"])["dog"] > 0.05 and dict(row["there"])["dog"] == 0
    with pytest.raises(AnomalyError, match=r"drifted .*words against eval: 0\.\d+, over 0\.3"):
        run_to(other, "StrictExampleValidator", "data.drift_stops=true", root="second")
    quiet = "data.skew={caption_words: null, words: null, width: null, height: null}"
    assert set(told(run_to(other, "StrictExampleValidator", quiet, root="second"))) == {("group", "eval")}


@pytest.mark.once
def test_drift_from_the_last_blessed_model(memes, whole, tmp_path, run_in):
    root = whole.copy(tmp_path / "root")
    assert {row["against"] for row in runs.find(root, "latest").summary["data"]["drift"]} == {"eval"}
    last = "the last blessed model's data"
    same = run_in(root, memes, "StrictExampleValidator")
    assert {against for _, against in told(same)} == {"eval"}, "of the same data there is nothing to ask"
    other = Path(shutil.copytree(memes, tmp_path / "other"))  # the same pictures, of which other things are said
    lines = [json.loads(line) for line in (other / "captions.jsonl").read_text().splitlines()]
    said = [line | {"captions": [HOT.format(i % 7), f"{HOT.format(i % 7)} now"]} for i, line in enumerate(lines)]
    (other / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    changed = run_in(root, other, "StrictExampleValidator")
    assert told(changed)["words", last] and told(changed)["caption_words", last]
    assert not told(changed)["words", "eval"] and not told(changed)["group", last]
