"""CaptionExampleGen on data as it comes: every kind of bad record, duplicates, declared splits."""

import io
import json
import os
from collections import Counter

import pytest
import tensorflow as tf
from PIL import Image
from tfx.utils import dependency_utils

from memefly.errors import AnomalyError, ConfigError, DataError, QuarantineError

COLOUR = 0


def png(format="PNG", mode="RGB", **options) -> bytes:
    """A picture like no other before it."""
    global COLOUR
    COLOUR += 1
    image = Image.new("RGB", (24, 16), (COLOUR % 256, COLOUR // 256, 77)).convert(mode)
    out = io.BytesIO()
    image.save(out, format=format, **options)
    return out.getvalue()


def write(folder, lines) -> None:
    """`lines` are (file name, bytes or None, further keys) or ready-made text."""
    (folder / "images").mkdir(parents=True)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as out:
        for line in lines:
            if isinstance(line, str):
                out.write(line + "\n")
                continue
            name, data, keys = line
            if data is not None:
                (folder / "images" / name).write_bytes(data)
            out.write(json.dumps({"image": f"images/{name}", "captions": ["a cat", "the cat"], **keys}) + "\n")


def examples(root) -> list[tuple[str, dict[str, list[bytes]]]]:
    found = []
    for path in sorted((root / "artifacts" / "CaptionExampleGen" / "examples").rglob("data_tfrecord*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            found.append((path.parent.name, {k: list(v.bytes_list.value) for k, v in features.items()}))
    return found


def good(n: int) -> list:
    return [(f"good-{i}.png", png(), {}) for i in range(n)]


def test_whatever_comes_is_handled_or_quarantined(tmp_path, run_to):
    big = Image.new("L", (300, 300))
    out = io.BytesIO()
    big.save(out, format="PNG")
    handled = [
        ("cmyk.jpg", png("JPEG", "CMYK"), {}),
        ("webp.webp", png("WEBP"), {}),
        ("named-wrongly.jpg", png("PNG"), {}),
        ("deep.png", png("PNG", "I;16"), {}),
        ("moving.gif", png("GIF", save_all=True, append_images=[Image.new("RGB", (24, 16))]), {}),
        ("partly.png", png(), {"captions": ["a cat", "", "!!!"]}),
    ]
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(noise, format="JPEG")
    bad = [
        ("truncated.jpg", noise.getvalue()[: len(noise.getvalue()) * 3 // 4], {}),
        ("text.png", b"this is text", {}),
        ("zero.png", b"", {}),
        ("missing.png", None, {}),
        ("huge.png", out.getvalue(), {}),
        ("silent.png", png(), {"captions": []}),
        ("wordless.png", png(), {"captions": ["...", " "]}),
        '{"image": "images/good-0.png"}',
        '{"image": "images/good-0.png", "captions": ["a"',
        '{"image": "../secret.png", "captions": ["a cat"]}',
        '["a list"]',
    ]
    write(tmp_path / "data", [*good(10), *bad, "", *handled])
    summary = run_to(tmp_path / "data", "CaptionExampleGen", "data.max_quarantined=0.6", "data.max_pixels=50000")
    assert summary.data["images"] == 16
    assert summary.data["captions"] == 31
    assert summary.data["quarantined"] == len(bad)
    run = tmp_path / "root" / "runs" / "latest"
    entries = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert Counter(e["reason"] for e in entries if e["what"] == "record") == {
        "truncated": 1, "not_a_picture": 1, "empty_file": 1, "missing_picture": 1, "too_large": 1, "no_captions": 3,
        "broken_json": 1, "bad_path": 1, "not_a_record": 1,
    }  # fmt: skip
    assert [e["reason"] for e in entries if e["what"] == "caption"] == ["no_words"] * 2
    assert json.loads((run / "summary.json").read_text())["data"]["quarantined"] == len(bad)
    found = examples(tmp_path / "root")
    assert len(found) == 16
    for _, features in found:
        assert tf.io.decode_image(features["image"][0], channels=3).shape == (16, 24, 3)
        assert len(features["image_id"][0]) == 64


@pytest.mark.once
def test_too_much_bad_stops_and_says_what(tmp_path, run_to):
    write(tmp_path / "data", [*good(8), ("gone.png", None, {}), "broken"])
    with pytest.raises(QuarantineError, match=r"2 of 10 records are bad, more than the 10%.*1 broken_json") as raised:
        run_to(tmp_path / "data", "CaptionExampleGen")
    assert raised.value.exit_code == 2
    run = tmp_path / "root" / "runs" / "latest"
    assert len((run / "quarantine.jsonl").read_text().splitlines()) == 2
    summary = json.loads((run / "summary.json").read_text())
    assert summary["components"] == [{**summary["components"][0], "name": "CaptionExampleGen", "state": "failed"}]
    assert "records are bad" in summary["error"]


@pytest.mark.once
def test_one_picture_under_two_names_is_one_example(tmp_path, run_to, monkeypatch):
    made = []  # packages of TFX, for workers elsewhere
    monkeypatch.setattr(dependency_utils, "build_ephemeral_package", lambda: made.append("one"))
    same = png()
    lines = [*good(5), ("a.png", same, {"captions": ["one"]}), ("b.png", same, {"captions": ["two", "one"]})]
    write(tmp_path / "data", lines)
    assert run_to(tmp_path / "data", "CaptionExampleGen").data["images"] == 6
    assert made == []
    captions = [f["captions"] for _, f in examples(tmp_path / "root")]
    assert [b"one", b"two"] in captions


@pytest.mark.once
def test_declared_splits_are_kept_and_no_caption_is_on_two_sides(tmp_path, run_to):
    same = png()
    lines = [
        *[(f"{s}-{i}.png", png(), {"split": s}) for s in ("train", "val", "eval", "test") for i in range(3)],
        ("meme.png", same, {"split": "train", "captions": ["One joke", "another joke"]}),
        ("meme.png", same, {"split": "eval", "captions": ["one joke!", "a third joke"]}),
    ]
    write(tmp_path / "data", lines)
    summary = run_to(tmp_path / "data", "CaptionExampleGen")
    assert {s: c["images"] for s, c in summary.data["splits"].items()} == {"train": 4, "val": 3, "eval": 4}
    assert summary.data["left_for_test"] == 3
    assert (summary.data["quarantined"], summary.data["quarantined_captions"]) == (0, 1)
    memes = {split: f["captions"] for split, f in examples(tmp_path / "root") if b"joke" in f["captions"][-1]}
    assert memes == {"Split-train": [b"One joke", b"another joke"], "Split-eval": [b"a third joke"]}


@pytest.mark.once
def test_groups_that_are_held_out_only_judge(tmp_path, run_to):
    lines = [
        *[(f"{s}-{i}.png", png(), {"split": s}) for s in ("train", "val", "eval") for i in range(3)],
        *[(f"fry-{s}.png", png(), {"split": s, "group": "fry"}) for s in ("train", "val", "eval")],
        *[(f"fry-{i}.png", png(), {"group": "fry"}) for i in range(4)],
    ]
    write(tmp_path / "data", lines)
    summary = run_to(tmp_path / "data", "CaptionExampleGen", "data.hold_out_groups=[fry]")
    assert {s: c["images"] for s, c in summary.data["splits"].items()} == {"train": 3, "val": 3, "eval": 8}
    assert summary.data["held_out"] == 2 and summary.data["quarantined"] == 0
    with pytest.raises(DataError, match=r"hold_out_groups names 'frye', which is the group of no record"):
        run_to(tmp_path / "data", "CaptionExampleGen", "data.hold_out_groups=[fry, frye]")


@pytest.mark.once
def test_a_changed_picture_is_read_again(tmp_path, run_to):
    write(tmp_path / "data", good(6))
    assert run_to(tmp_path / "data", "CaptionExampleGen").components[0]["state"] == "ran"
    assert run_to(tmp_path / "data", "CaptionExampleGen").components[0]["state"] == "cached"
    (tmp_path / "data" / "images" / "good-0.png").write_bytes(png())
    assert run_to(tmp_path / "data", "CaptionExampleGen").components[0]["state"] == "ran"


def test_anomalies_stop_the_run_and_are_named(tmp_path, run_to, memes):
    from pipeline.config import DEFAULT_SCHEMA

    strict = tmp_path / "strict.pbtxt"
    strict.write_text(DEFAULT_SCHEMA.read_text().replace("value_count { min: 1 }", "value_count { min: 7 }"))
    with pytest.raises(AnomalyError, match=r"split train, feature 'captions': .*fewer"):
        run_to(memes, "StrictExampleValidator", f"data.schema={strict}")
    assert run_to(memes, "StrictExampleValidator").components[-1]["state"] == "skipped"  # what comes after it


@pytest.mark.once
@pytest.mark.parametrize("empty", ["val", "eval"])
def test_a_split_without_pictures_is_an_anomaly(tmp_path, run_to, empty):
    splits = ["train"] * 4 + ["eval" if empty == "val" else "val"] * 2
    write(tmp_path / "data", [(f"{i}.png", png(), {"split": split}) for i, split in enumerate(splits)])
    with pytest.raises(AnomalyError, match=f"split {empty}: it has no pictures"):
        run_to(tmp_path / "data", "StrictExampleValidator")
    with pytest.raises(DataError, match=f"split {empty}: it has no pictures .*; nothing was encoded"):
        run_to(tmp_path / "data", "Trainer")
    assert not list((tmp_path / "root" / "features").rglob("*.f16"))


@pytest.mark.once
def test_min_count_that_leaves_no_word_is_named(memes, whole, run_to, tmp_path):
    whole.copy(tmp_path / "root")  # what comes before Transform is there
    with pytest.raises(ConfigError, match=r"the vocabulary has no word: .* lower text\.min_count"):
        run_to(memes, "Trainer", "text.min_count=100000")


@pytest.mark.once
def test_whatever_stands_in_a_line_ends_in_the_quarantine_or_in_an_example(tmp_path, run_to):
    """Half an emoji, names that are no UTF-8, and a pipe in the place of a picture, which would be read for ever."""
    half, name = '"surprised pikachu \\ud83d"', os.fsdecode(b"caf\xe9.png")
    lines = [
        *good(20),
        f'{{"image": "images/good-0.png", "captions": ["x"], "group": {half}}}',
        f'{{"image": {half}, "captions": ["x"]}}',
        f'{{"image": "images/no-{chr(92)}udcff.png", "captions": ["x"]}}',
        '{"image": "images/pipe", "captions": ["x"]}',
        '{"image": "images", "captions": ["x"]}',
        json.dumps({"image": f"images/{name}", "captions": ["a caf"]}),
        '{"n": ' + "9" * 5000 + "}",
    ]
    write(tmp_path / "data", lines)
    os.mkfifo(tmp_path / "data" / "images" / "pipe")
    (tmp_path / "data" / "images" / name).write_bytes(png())
    summary = run_to(tmp_path / "data", "CaptionExampleGen", "data.max_quarantined=0.5")
    assert summary.data["images"] == 21 and summary.data["quarantined"] == 5
    entries = [json.loads(line) for line in (tmp_path / "root/runs/latest/quarantine.jsonl").read_text().splitlines()]
    assert [e["reason"] for e in entries][:4] == ["bad_path", "missing_picture", "missing_picture", "missing_picture"]
    assert "images/pipe is no file" in entries[2]["detail"]
