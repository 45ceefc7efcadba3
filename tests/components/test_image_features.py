"""ImageFeatures computes what is new and nothing else."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from components.image_features import artifact
from memefly import encoders, images
from memefly.commands.main import main
from memefly.datasets import sample
from memefly.datasets.examples import read, strings
from memefly.encoders import EncoderConfig
from memefly.encoders.feature_store import FeatureStore


@pytest.fixture
def data(tmp_path, memes):
    return shutil.copytree(memes, tmp_path / "data")


@pytest.mark.once
def test_a_picture_of_several_splits_is_encoded_once(tmp_path, data, run_to, monkeypatch):
    lines = [json.loads(line) for line in (data / "captions.jsonl").read_text().splitlines()][:12]
    for i, line in enumerate(lines):
        line["split"] = ("train", "val", "eval")[i % 3]
    lines += [{**lines[0], "split": split, "captions": [f"for {split}"]} for split in ("val", "eval")]
    (data / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    encoded = []
    encode = encoders.Encoder.encode_bytes
    monkeypatch.setattr(
        encoders.Encoder, "encode_bytes", lambda self, data, *more: encoded.extend(data) or encode(self, data, *more)
    )
    assert run_to(data, "ImageFeatures").features == {"computed": 12, "reused": 0}
    assert len(encoded) == len(set(encoded)) == 12
    assert not list((tmp_path / "root" / "artifacts" / "ImageFeatures").rglob("in-several*"))


@pytest.mark.once
def test_each_picture_once_ever(tmp_path, data, run_to, small_encoder):
    assert run_to(data, "ImageFeatures").features == {"computed": 60, "reused": 0}
    assert run_to(data, "ImageFeatures").features == {"computed": 0, "reused": 60}  # from TFX's cache

    # Ten more pictures: ten are computed.
    sample.generate(tmp_path / "more", images=10, seed=77)
    lines = (data / "captions.jsonl").read_text().splitlines()
    for line in (tmp_path / "more" / "captions.jsonl").read_text().splitlines():
        record = json.loads(line)
        name = record["image"].replace("meme-", "more-")
        shutil.copy(tmp_path / "more" / record["image"], data / name)
        lines.append(json.dumps({**record, "image": name}))
    (data / "captions.jsonl").write_text("\n".join(lines) + "\n")
    assert run_to(data, "ImageFeatures").features == {"computed": 10, "reused": 60}

    # Other captions: none is.
    changed = [json.dumps({**json.loads(line), "captions": ["something else entirely"]}) for line in lines]
    (data / "captions.jsonl").write_text("\n".join(changed) + "\n")
    assert run_to(data, "ImageFeatures").features == {"computed": 0, "reused": 70}

    # A damaged entry: that one is, also for another pipeline over the same store.
    config = EncoderConfig(weights=str(small_encoder))  # as the run has it
    store = FeatureStore(tmp_path / "root" / "features", encoders.digest(config))
    entries = sorted(store.folder.rglob("*.f16"))
    assert len(entries) == 70
    content = bytearray(entries[0].read_bytes())
    content[-1] ^= 255
    entries[0].write_bytes(content)
    shutil.copytree(tmp_path / "root" / "features", tmp_path / "other" / "features")
    assert run_to(data, "ImageFeatures", root="other").features == {"computed": 1, "reused": 69}

    # And what lies there is what the encoder says, whatever the pictures are called.
    encoder = encoders.load(config)
    store = FeatureStore(tmp_path / "other" / "features", encoders.digest(config))
    pictures = sorted((data / "images").iterdir())[:5]
    fresh = encoder.encode_bytes([images.read(path).data for path in pictures])
    for path, expected in zip(pictures, fresh):
        stored = store.get(hashlib.sha256(path.read_bytes()).hexdigest())
        assert stored.shape == (8, 8, 32)
        np.testing.assert_allclose(stored, expected, rtol=2e-3, atol=1e-3)

    # Its Examples refer to them by the picture's digest, hold neither, and say what the features are like.
    (made,) = (tmp_path / "other" / "artifacts" / "ImageFeatures" / "features").iterdir()
    told = artifact.read(str(made))
    assert (told.encoder, told.shape) == (encoders.digest(config), (8, 8, 32))
    trained = [strings(feature["image_id"])[0] for feature in read(made / "Split-train")]
    of_train = np.stack([store.get(image_id) for image_id in trained]).astype(np.float64)
    np.testing.assert_allclose(told.mean, of_train.mean((0, 1, 2)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(told.std, of_train.std((0, 1, 2)), rtol=1e-5)
    for split in ("train", "val", "eval"):
        for feature in read(made / f"Split-{split}"):
            assert set(feature) == {"image_id", "captions", "group", "source", "width", "height"}


@pytest.mark.once
def test_features_that_are_gone_are_made_anew_although_it_was_cached(tmp_path, data, run_to, small_encoder):
    run_to(data, "ImageFeatures")
    store = FeatureStore(tmp_path / "root" / "features", encoders.digest(EncoderConfig(weights=str(small_encoder))))
    entries = sorted(store.folder.rglob("*.f16"))
    for path in entries[:3]:
        path.unlink()
    summary = run_to(data, "ImageFeatures")
    assert summary.features == {"computed": 3, "reused": 57} and sorted(store.folder.rglob("*.f16")) == entries
    assert [one["state"] for one in summary.components if one["name"] == "ImageFeatures"] == ["ran"]


@pytest.mark.once
def test_in_eight_bits_and_fewer_channels(tmp_path, data, run_to, small_encoder):
    """What is stored is what the encoder says, and what its Examples say of it is of what is stored."""
    run_to(data, "ImageFeatures")
    assert main(["project", "--root", str(tmp_path / "root"), "--channels", "8", "--out", str(tmp_path / "p.npz")]) == 0
    asked = {"projection": str(tmp_path / "p.npz"), "storage": "uint8"}
    summary = run_to(data, "ImageFeatures", *(f"encoder.{name}={value}" for name, value in asked.items()))
    assert summary.features == {"computed": 60, "reused": 0}, "it shares nothing with the other form"
    config = EncoderConfig(weights=str(small_encoder), **asked)
    store = FeatureStore(tmp_path / "root" / "features", encoders.digest(config))
    assert store.size() == 60 * (32 + 4 * 8 + 8 * 8 * 8)
    encoder = encoders.load(config)
    for path in sorted((data / "images").iterdir())[:5]:
        (fresh,) = encoder.encode_bytes([images.read(path).data]).astype(np.float32)
        stored = store.get(hashlib.sha256(path.read_bytes()).hexdigest())
        assert np.abs(stored - fresh).max() <= 0.01 * np.ptp(fresh), "another batch rounds otherwise"
    made = max(
        (tmp_path / "root" / "artifacts" / "ImageFeatures" / "features").iterdir(), key=lambda one: int(one.name)
    )
    told = artifact.read(str(made))
    assert (told.encoder, told.shape) == (encoders.digest(config), (8, 8, 8))
    of_train = np.stack([store.get(strings(one["image_id"])[0]) for one in read(made / "Split-train")])
    np.testing.assert_allclose(told.mean, of_train.astype(np.float64).mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
