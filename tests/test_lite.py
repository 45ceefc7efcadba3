import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from memefly import cli, export, images, lite, text
from memefly.errors import ModelError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(exported):
    return export.load(exported)


@pytest.fixture(scope="module")
def small(model, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "1700000000"
    lite.convert(model, folder, pictures[:30])
    return folder


def test_it_says_nearly_what_the_model_says(model, small, pictures):
    """The likeliest captions of pictures it was not calibrated with; most words, and the scores."""
    ours, theirs = export.load(small).caption(pictures[30:]), model.caption(pictures[30:])
    assert len({row[0].text for row in theirs}) > 3, "a model that says one thing to everything would prove nothing"
    same = [a[0].text == b[0].text for a, b in zip(ours, theirs)]
    assert np.mean(same) > 0.7
    scores = [[row[0].score for row in rows] for rows in (ours, theirs)]
    assert np.abs(np.subtract(*scores)).mean() < 0.1 * np.abs(scores[1]).mean()


def test_the_search_is_that_of_the_model(model, small, pictures):
    """On the same features, eight-bit weights apart: all hypotheses, best first, each within the length it may have."""
    lite_model = export.load(small)
    out = lite_model.predict(pictures[:5])
    expected = model.predict(pictures[:5])
    assert {k: (v.shape, v.dtype) for k, v in out.items()} == {k: (v.shape, v.dtype) for k, v in expected.items()}
    assert (np.diff(out["scores"], axis=1) <= 0).all()
    assert all(0 < len(text.tokenize(c.decode())) <= 6 for row in out["captions"] for c in row)


def test_a_bad_picture_gets_an_error_of_its_own(small, pictures):
    out = export.load(small).predict([b"no picture", pictures[0]])
    assert out["caption"][0] == b"" and out["score"][0] < -1e6 and b"JPEG" in out["error"][0]
    assert out["caption"][1] == export.load(small).predict(pictures[:1])["caption"][0] and out["error"][1] == b""
    assert export.load(small).predict([])["captions"].shape == (0, 3)


def test_a_quarter_of_the_size(model, small):
    """Of the weights; the rest of a model so small is its graph."""
    variables = sum(p.stat().st_size for p in (model.folder / "variables").iterdir())
    assert (small / lite.ENCODER).stat().st_size < variables
    manifest = export.read_manifest(small)
    assert manifest["precision"] == "int8" and manifest["of"] == model.manifest["digest"]
    assert manifest["digest"] != manifest["of"]


def test_what_is_refused(model, small, pictures, tmp_path):
    with pytest.raises(ModelError, match="at least 20 pictures"):
        lite.convert(model, tmp_path / "few", pictures[:3])
    with pytest.raises(ModelError, match="not empty"):
        lite.convert(model, small, pictures[:30])
    with pytest.raises(ModelError, match="beam cannot be set"):
        export.load(small).caption(pictures[:1], beam=5)
    assert export.load(small).caption(pictures[:1], beam=3)  # as it is anyway
    broken = shutil.copytree(small, tmp_path / "broken")
    (broken / lite.DECODER).write_bytes(b"broken")
    with pytest.raises(ModelError, match="does not load as a LiteRT model"):
        export.load(broken)
    assert not (tmp_path / "few").exists()


def test_the_gate_counts_bleu(model, small, pictures):
    """References that the full model says word for word: whatever the small one says else is its loss."""
    said = [row[0].text for row in model.caption(pictures)]
    verdict = lite.judge(model, export.load(small), pictures, [[s] for s in said], tolerance=0.0)
    assert verdict.bleu4 == pytest.approx(1.0) and verdict.pictures == len(pictures)
    same = [row[0].text for row in export.load(small).caption(pictures)] == said
    assert verdict.blessed == same


def test_the_command(exported, memes, tmp_path, capsys):
    command = ["export", "--model", str(exported), "--data", str(memes), "--precision", "int8", "--calibration", "25"]
    out = tmp_path / "small"
    assert cli.main([*command, "--out", str(out), "--tolerance", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["blessed"] and told["bytes"] < told["bytes_before"] and told["out"] == str(out / "1700000000")
    picture = str(sorted((memes / "images").iterdir())[0])
    assert cli.main(["caption", "--model", str(out), picture]) == 0
    expected = export.load(out).caption([images.read(Path(picture)).data])[0][0].text
    assert capsys.readouterr().out.strip().endswith(expected)
    assert cli.main([*command, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main([*command, "--out", str(tmp_path / "strict"), "--tolerance", "-1"]) == 3
    assert "not kept" in capsys.readouterr().out and not (tmp_path / "strict" / "1700000000").exists()
