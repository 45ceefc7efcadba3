"""The card of a pushed version: what the run knows, with nobody's words taken for markup."""

import base64
import io
import json
import re

import pytest
import yaml
from PIL import Image

from memefly.errors import ModelError, UsageError
from memefly.report import card

NASTY = "a | <script>alert(1)</script> [x](http://evil.example) ![y](z) *star* `tick`\nsecond line"


@pytest.fixture
def folders(tmp_path):
    run, version = tmp_path / "run", tmp_path / "1700000000"
    run.mkdir()
    version.mkdir()
    out = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(out, "JPEG")
    picture = {"image": base64.b64encode(out.getvalue()).decode(), "references": ["a red picture"], "source": "a|b.jpg"}
    pictures = [
        picture | {"image_id": str(i), "cider": cider, "caption": NASTY if i == 1 else f"caption {i}"}
        for i, cider in enumerate([0.9, 0.0, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8])
    ]
    summary = {
        "run_id": "20261128-000000", "metrics": {"bleu4": 0.25, "cider": 0.5}, "intervals": {"bleu4": [0.2, 0.3]},
        "slices": [{"by": "group", "value": NASTY, "pictures": 3, "metrics": {"bleu4": 0.1}}], "baseline": None,
        "decisions": [{"passed": True, "reason": "bleu4 is 0.2500, must be at least 0.1000"}],
        "components": [{"name": "Trainer", "state": "ran", "seconds": 61.2}],
        "data": {
            "images": 1200, "captions": 6000, "quarantined": 3,
            "splits": {"train": {"images": 1000, "captions": 5000}},
            "cleaning": [{"step": "urls", "changed": 2, "dropped": 1}],
            "digests": {"raw": "r" * 64, "examples": "e" * 64},
        },
    }  # fmt: skip
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "gallery.json").write_text(json.dumps({"pictures": pictures}))
    manifest = {
        "memefly": "0.1.0", "git": "c" * 40, "version": 1700000000, "digest": "d" * 64, "versions": {"tensorflow": "2"},
        "config": {"network": {"kind": "attention"}}, "encoder": {"name": "InceptionV3", "digest": "f" * 64},
        "vocabulary": {"size": 7000, "sha256": "a" * 64}, "metrics": {"seconds": 60.0},
    }  # fmt: skip
    (version / "memefly.json").write_text(json.dumps(manifest))
    return run, version


def test_what_the_run_knows_is_there(folders):
    run, version = folders
    said = card.CardConfig(title="Cats", licence="apache-2.0", data_licence="CC BY 4.0", data_name="Cats of 2026")
    text = card.write(run, version, said).read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert (header["license"], header["language"], header["pipeline_tag"]) == ("apache-2.0", ["en"], "image-to-text")
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "bleu4", "name": "BLEU-4", "value": 0.25}
    assert result["dataset"] == {"type": "cats-of-2026", "name": "Cats of 2026", "split": "eval"}
    for line in (
        "| train | 1,000 | 5,000 |", "| urls | 2 | 1 |", "| BLEU-4 | 0.2500 | 0.2000 to 0.3000 |", "Trainer 61",
        "- held: bleu4 is 0.2500, must be at least 0.1000", "and 3 records were left out", "CC BY 4.0",
        *(f"`{letter * 64}`" for letter in "daref"),
    ):  # fmt: skip
        assert line in text, line
    worst = re.findall(r"^\| !\[.*\]\((card/.*\.jpg)\) \| (.*?) \|", text, re.MULTILINE)
    assert [name for name, _ in worst] == [f"card/worst-{i}.jpg" for i in range(1, 7)]
    assert worst[1][1] == "caption 2" and all((version / name).is_file() for name, _ in worst)


def test_words_are_words(folders):
    run, version = folders
    text = card.write(run, version, card.CardConfig()).read_text()
    page = version.joinpath("README.html").read_text()
    assert "<script" not in page and 'href="http' not in page and page.count("<img") == 6
    assert page.count("alert(1)") == 2 and "second line" in page, "a slice's name, and a caption"
    assert "not stated; say it in" in text
    rows = [line for line in text.splitlines() if "alert" in line]
    assert all(line.startswith("| ") and line.endswith(" |") for line in rows) and len(rows) == 2


def test_what_cannot_be_told_of(folders, tmp_path):
    run, version = folders
    with pytest.raises(ModelError):
        card.write(run, tmp_path / "nothing", card.CardConfig())
    (run / "gallery.json").unlink()
    assert "No pictures were kept of this run" in card.write(run, version, card.CardConfig()).read_text()
    (run / "summary.json").write_text("{")
    with pytest.raises(UsageError, match=r"expected ROOT/runs/<run_id>"):
        card.write(run, version, card.CardConfig())
