"""The gate of smaller forms, and the one in bfloat16; the eight-bit one itself is in `test_lite`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from memefly import images
from memefly.commands import main as cli
from memefly.errors import DataError, ModelError, PromotionError
from memefly.exported import loading, reduced
from memefly.exported.manifest import SIGNATURES, read_manifest
from memefly.serving import promotion

pytestmark = pytest.mark.slow


@pytest.fixture
def root(exported, tmp_path):
    """A pipeline's root with one pushed version."""
    shutil.copytree(exported, tmp_path / "root" / "serving" / "captioner" / exported.name)
    return tmp_path / "root"


@pytest.fixture
def captioner_folder(root):
    return root / "serving" / "captioner"


@pytest.fixture(scope="module")
def in_bfloat16(exported, memes, tmp_path_factory):
    return reduced.reduce(exported, tmp_path_factory.mktemp("out"), "bf16", memes, tolerance=1.0)


def test_bfloat16_is_a_saved_model_as_any_other(in_bfloat16, exported, pictures):
    verdict, out = in_bfloat16
    assert out.name == "1700000000" and verdict.blessed and verdict.pictures > 3
    small, full = loading.load(out), loading.load(exported)
    assert small.manifest["precision"] == "bf16" and small.manifest["of"] == full.manifest["digest"]
    assert small.manifest["digest"] != full.manifest["digest"] and small.manifest["blessed"]
    assert small.manifest["metrics"]["compared"]["small_bleu4"] == verdict.small_bleu4
    assert all(v.dtype == tf.bfloat16 for v in small.encoder_state)
    a, b = (m.features(pictures).astype(np.float32) for m in (small, full))
    assert 0 < np.linalg.norm(a - b) / np.linalg.norm(b) < 0.02
    # All that the full model answers, the small one does: the same signatures, warm-up requests, knobs.
    small.warm_up()
    ours, theirs = small.predict(pictures), full.predict(pictures)
    assert np.mean(ours["caption"] == theirs["caption"]) > 0.7
    assert len(small.decode(pictures[:2], {"beam": 5})["captions"][0]) == 5
    loaded = tf.saved_model.load(str(out))
    assert set(SIGNATURES) <= set(loaded.signatures)


def test_the_session_loader_answers_alike(in_bfloat16, pictures):
    """TensorFlow Serving's."""
    _, out = in_bfloat16
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(out)).signature_def["serving_default"]
        captions = session.run(
            signature.outputs["caption"].name, {signature.inputs["image_bytes"].name: list(pictures[:3])}
        )
    np.testing.assert_array_equal(captions, loading.load(out).predict(pictures[:3])["caption"])


@pytest.mark.once
def test_the_gate_counts_bleu(in_bfloat16, exported, pictures):
    """References that the full model says word for word: whatever the small one says else is its loss."""
    full, small = loading.load(exported), loading.load(in_bfloat16[1])
    said = [row[0].text for row in full.caption(pictures)]
    verdict = reduced._judge(full, small, pictures, [[s] for s in said], tolerance=0.0)
    assert verdict.bleu4 == pytest.approx(1.0) and verdict.pictures == len(pictures)
    same = [row[0].text for row in small.caption(pictures)] == said
    assert verdict.blessed == same


@pytest.mark.once
def test_among_the_versions_of_the_pipeline(root, captioner_folder, memes):
    """It gets a number of its own, and can be promoted."""
    _, out = reduced.reduce(captioner_folder, captioner_folder, "bf16", memes, tolerance=1.0)
    assert out == captioner_folder / "1700000001" and read_manifest(out)["version"] == 1700000001
    promotion.promote(root, "latest", "stable")
    assert promotion.labels(root) == {"stable": 1700000001}
    # Nor is what no gate has blessed blessed by being as good.
    manifest = captioner_folder / "1700000000" / "memefly.json"
    manifest.write_text(manifest.read_text().replace('"blessed": true', '"blessed": false'))
    _, out = reduced.reduce(manifest.parent, captioner_folder, "bf16", memes, pictures=3, tolerance=1.0)
    with pytest.raises(PromotionError, match="no gate has blessed it"):
        promotion.promote(root, out.name, "canary")
    with pytest.raises(ModelError, match="smaller form itself"):
        reduced.reduce(captioner_folder, root / "smaller", "bf16", memes)
    with pytest.raises(ModelError, match="TensorFlow Serving, which cannot load int8"):
        reduced.reduce(captioner_folder / "1700000000", captioner_folder, "int8", memes)


@pytest.mark.once
def test_what_is_refused_leaves_nothing(exported, memes, tmp_path):
    verdict, out = reduced.reduce(exported, tmp_path / "out", "bf16", memes, pictures=5, tolerance=-1.0)
    assert out is None and not verdict.blessed and verdict.pictures == 5
    assert list((tmp_path / "out").iterdir()) == []
    elsewhere = shutil.copytree(exported, tmp_path / "model" / "7")
    manifest = read_manifest(elsewhere)
    (elsewhere / "memefly.json").write_text(json.dumps(manifest | {"config": {**manifest["config"], "splits": None}}))
    with pytest.raises(DataError, match="does not say how its run split such pictures"):
        reduced.reduce(elsewhere, tmp_path / "out", "bf16", memes)
    unpushed = elsewhere.rename(elsewhere.with_name("Format-Serving"))
    (unpushed / "memefly.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != "version"}))
    with pytest.raises(ModelError, match="Format-Serving has no version: nothing pushed it"):
        reduced.reduce(unpushed, tmp_path / "out", "bf16", memes)
    few = tmp_path / "few"
    shutil.copytree(memes, few)
    (few / "captions.jsonl").write_text((few / "captions.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="expected pictures to calibrate with and to compare on"):
        reduced.reduce(exported, tmp_path / "out", "bf16", few)


@pytest.mark.once
def test_the_command(exported, memes, tmp_path, capsys):
    command = ["export", "--model", str(exported), "--data", str(memes), "--precision", "int8", "--calibration", "25"]
    out = tmp_path / "small"
    assert cli.main([*command, "--out", str(out), "--tolerance", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["blessed"] and told["bytes"] < told["bytes_before"] and told["out"] == str(out / "1700000000")
    picture = str(sorted((memes / "images").iterdir())[0])
    assert cli.main(["caption", "--model", str(out), picture]) == 0
    expected = loading.load(out).caption([images.read(Path(picture)).data])[0][0].text
    assert capsys.readouterr().out.strip().endswith(expected)
    assert cli.main([*command, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main([*command, "--out", str(tmp_path / "strict"), "--tolerance", "-1"]) == 3
    assert "not kept" in capsys.readouterr().out and not (tmp_path / "strict" / "1700000000").exists()
