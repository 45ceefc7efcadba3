"""A tour, as the people have it who keep such a pipeline: data arrive, a better model goes live, a worse one does not,
one goes back, a picture is forgotten; and every time they ask what is there and where it comes from."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from memefly.commands import main as cli
from memefly.exported.manifest import read_manifest

pytestmark = pytest.mark.once
KEY = "5ec7e7" + "0" * 34


@pytest.fixture
def ask(root, capsys):
    """What a command says about the root."""

    def ask(*command: str, status: int = 0) -> str:
        capsys.readouterr()
        assert cli.main([*map(str, command), "--root", str(root)]) == status
        said = capsys.readouterr().out
        with capsys.disabled():
            if os.environ.get("MEMEFLY_TOUR"):  # to be read by people
                print(f"\n$ memefly {' '.join(map(str, command))}\n{said}", end="")
        return said

    return ask


@pytest.fixture
def root(whole, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("memefly.serving.promotion.SETTLE", 0.0)
    return whole.copy(tmp_path / "root")


def test_a_tour(root, memes, run_in, ask, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)  # which nothing is to keep; offline, nobody looks at it
    gate = ["gate.floors.bleu4=0.0", "gate.regressions.bleu4=1.0"]
    assert "0.000" not in ask("runs").split()[9:12]
    ask("promote", "--version", "latest", "--to", "stable", "--why", "the first")
    (first,) = [int(path.name) for path in (root / "serving" / "captioner").iterdir()]
    assert re.search(rf"stable on {first}, by \S+: the first", ask("history"))

    # A new span of data arrives, about other things; that it drifted is told, and what is trained on it is better.
    span = Path(shutil.copytree(memes, tmp_path / "span"))
    lines = [json.loads(line) for line in (span / "captions.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        line["captions"] = [f"the {line['scene']['character']} waits for a train"] * (2 if i % 2 else 1)
    (span / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    better = run_in(root, span, None, *gate, "training.epochs=8")
    drifted = {row["feature"] for row in better.data["drift"] if row["anomaly"] and "last blessed" in row["against"]}
    assert {"words"} <= drifted and better.pushed and better.metrics["bleu4"] > better.baseline["bleu4"] + 0.3
    second = int(Path(better.pushed).name)
    assert ask("diff", json.loads(ask("runs", "--json").splitlines()[1])["run_id"], "latest")
    assert ask("runs").splitlines()[1].split()[1] == "pushed"
    ask("promote", "--version", str(second), "--to", "stable", "--why", "trains")
    found = json.loads(ask("lineage", "stable", "--json"))
    assert (found["version"], found["baseline"], found["labels"]) == (second, first, ["stable"])
    assert found["data"]["digest"] == better.data["digests"]["examples"]

    # What is worse is refused, and it is said why.
    worse = run_in(root, span, None, "training.max_steps=1", "gate.floors.bleu4=0.5")
    assert not worse.blessed and worse.pushed is None
    assert "bleu4 is 0." in ask("runs").splitlines()[1] and "not blessed" in ask("runs").splitlines()[1]
    said = ask("diff", better.run_id, "latest")
    assert "training.max_steps" in said and "gate.floors.bleu4" in said and "bleu4" in said

    # It goes back.
    ask("rollback", "--label", "stable", "--why", "people miss the old ones")
    assert ask("history").splitlines()[-1] == f"now: stable {first}"
    assert json.loads(ask("lineage", "stable", "--json"))["version"] == first

    # A picture is forgotten.
    source = "images/" + min(path.name for path in (memes / "images").iterdir())
    assert f"version {second}" in ask("lineage", "--seen", source)
    said = ask("forget", source, "--data", span, "--why", "it was somebody's")
    assert "what they were: train anew" in said and "still has it" not in said
    again = run_in(root, span, "Transform", *gate)
    assert again.data["images"] == 59
    assert "no Examples under this root have it" in ask("lineage", "--seen", source)
    assert ask("runs").splitlines()[1].split()[1] == "part"

    # And nothing of it keeps a key.
    kept = [path for path in root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert kept == []
    assert read_manifest(root / "serving" / "captioner" / str(first))["blessed"]
