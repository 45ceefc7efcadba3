"""Cleaning and safety on the way from captions.jsonl to Examples."""

import io
import json
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from memefly.cleaning import Cleaning

pytestmark = pytest.mark.once

ALL = (
    "[mojibake, html, control, unicode, urls, {step: length, max_words: 20}, language, duplicates, near_duplicates, "
    "pictures]"
)


def picture(seed: int, quality: int = 95, size: int = 96) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).resize((size, size)).save(
        out, "JPEG", quality=quality
    )
    return out.getvalue()


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    lines = []

    def add(name, content, captions, **keys):
        (folder / "images" / name).write_bytes(content)
        lines.append({"image": f"images/{name}", "captions": captions, **keys})

    for i in range(9):
        split = ("train", "val", "eval")[i % 3]
        add(f"{i}.jpg", picture(i), [f"picture number {i} of a cat"], split=split)
    dirt = [
        "caf\u00c3\u00a9 &amp; cats",
        "look http://example.org/x",
        "der hund läuft über die grüne wiese und bellt laut",
        ["top\u200b line", "bottom"],
        "word " * 30,
        "Top line bottom!",
        "my&#32;zorg is here",
        "top line bottoms",
    ]
    add("dirty.jpg", picture(100), dirt, split="train")
    add("gone.jpg", picture(101), ["http://example.org/all", "zorg"], split="train")
    add(
        "copy.jpg", picture(2, quality=60, size=80), ["the same picture as number 2, which is judged on"], split="train"
    )
    add("meme.jpg", picture(102), ["a joke about the weather today"], split="eval")
    add("meme.jpg", picture(102), ["A joke about the weather today!!", "another one"], split="train")
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def examples(root) -> dict[tuple[str, str], list[str]]:
    found = {}
    newest = max((root / "artifacts/CaptionExampleGen/examples").iterdir(), key=lambda path: int(path.name))
    for path in sorted(newest.rglob("data_tfrecord*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            key = path.parent.name.removeprefix("Split-"), feature["source"].bytes_list.value[0].decode()
            found[key] = [value.decode() for value in feature["captions"].bytes_list.value]
    return found


def test_captions_are_cleaned_once_and_told_of(data, run_to, tmp_path, monkeypatch):
    seen: Counter = Counter()
    clean = Cleaning.clean
    monkeypatch.setattr(Cleaning, "clean", lambda self, caption: seen.update([caption]) or clean(self, caption))
    summary = run_to(data, "CaptionExampleGen", f"data.cleaning={ALL}", "safety.block=[zorg]")
    assert set(seen.values()) == {1} and len(seen) == 23
    found = examples(tmp_path / "root")
    assert found["train", "images/dirty.jpg"] == ["café & cats", "look", "top line\nbottom"]
    assert ("train", "images/gone.jpg") not in found and ("train", "images/copy.jpg") not in found
    assert found["eval", "images/meme.jpg"] == ["a joke about the weather today"]
    assert found["train", "images/meme.jpg"] == ["another one"]
    table = {row["step"]: row for row in summary.data["cleaning"]}
    assert {step: (row["changed"], row["dropped"]) for step, row in table.items()} == {
        "mojibake": (1, 0), "html": (2, 0), "control": (1, 0), "unicode": (0, 0), "urls": (2, 1), "length": (0, 1),
        "language": (0, 1), "safety": (0, 2), "duplicates": (0, 1), "near_duplicates": (0, 1), "pictures": (0, 1),
    }  # fmt: skip
    assert table["html"]["examples"] == [["caf\u00c3\u00a9 &amp; cats", "café & cats", ""]]
    assert table["safety"]["examples"] == [] and table["safety"]["why"] == {"blocked: a word or phrase of the list": 2}
    run = tmp_path / "root" / "runs" / "latest"
    entries = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert Counter(e["reason"] for e in entries if e["what"] == "caption") == {
        "urls": 1, "length": 1, "language": 1, "safety": 2, "duplicates": 1, "near_duplicates": 1, "split_conflict": 1,
    }  # fmt: skip
    assert Counter(e["reason"] for e in entries if e["what"] == "record") == {"cleaned": 2}
    assert "zorg" not in (run / "quarantine.jsonl").read_text() + (run / "summary.json").read_text()
    assert "1 changed" in (run / "report.html").read_text() or "cleaning:" in (run / "report.html").read_text()


def test_same_data_and_steps_give_the_same_bytes(data, run_to, tmp_path):
    held = []
    for root in ("root", "again"):
        steps = [f"data.cleaning={ALL}", "safety.block=[zorg]"]
        assert run_to(data, "CaptionExampleGen", *steps, root=tmp_path / root).components[0]["state"] == "ran"
        made = tmp_path / root / "artifacts/CaptionExampleGen"
        held.append({p.relative_to(made / "examples").parts[1:]: p.read_bytes() for p in made.rglob("data_tfrecord*")})
    assert held[0] == held[1] and held[0]
    assert run_to(data, "CaptionExampleGen", *steps, root=tmp_path / "again").components[0]["state"] == "cached"
    state = run_to(data, "CaptionExampleGen", "safety.block=[zork]", root=tmp_path / "again").components[0]["state"]
    assert state == "ran", "what is done is part of the cache key"
