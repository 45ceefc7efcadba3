"""`memefly project`: of a root's features of train, and of no others."""

import json

import numpy as np
import pytest
import tensorflow as tf

from memefly import encoders
from memefly.commands.main import main
from memefly.encoders import EncoderConfig, projection
from memefly.encoders.config import fitted_on
from memefly.encoders.feature_store import FeatureStore
from memefly.errors import FeaturesError, UsageError
from memefly.operations import project

TRAIN, EVAL = ([f"{i:02x}" * 32 for i in numbers] for numbers in (range(30), range(30, 40)))


@pytest.fixture
def config(small_encoder):
    return EncoderConfig(weights=str(small_encoder), storage="uint8")


@pytest.fixture
def root(tmp_path, config):
    """As ImageFeatures leaves it."""
    digest = encoders.digest(config)
    store, rng = FeatureStore(tmp_path / "features", digest), np.random.default_rng(0)
    mixing = rng.standard_normal((3, 32))
    for key in (*TRAIN, *EVAL):
        features = rng.standard_normal((2, 2, 3)) @ mixing + (100 if key in EVAL else 0)
        store.put(key, features.astype(np.float16))
    for id_ in (4, 12):
        folder = tmp_path / "artifacts" / "ImageFeatures" / "features" / str(id_)
        (folder / "Split-train").mkdir(parents=True)
        (folder / "features.json").write_text(
            json.dumps({"encoder": digest if id_ == 12 else "0", "shape": [2, 2, 32]})
        )
        with tf.io.TFRecordWriter(str(folder / "Split-train" / "data_tfrecord-00000-of-00001")) as writer:
            for key in TRAIN:
                image_id = tf.train.Feature(bytes_list=tf.train.BytesList(value=[key.encode()]))
                writer.write(
                    tf.train.Example(features=tf.train.Features(feature={"image_id": image_id})).SerializeToString()
                )
    say(tmp_path, config)
    return tmp_path


def say(root, config) -> None:
    run = root / "runs" / "20260101-120000"
    run.mkdir(parents=True, exist_ok=True)
    told = {"encoder": {"digest": encoders.digest(config)}, "configuration": {"encoder": config.model_dump()}}
    (run / "summary.json").write_text(json.dumps(told))


def test_it_is_of_the_newest_features_of_train(root, config, capsys):
    out = root / "p.npz"
    assert main(["project", "--root", str(root), "--channels", "3", "--out", str(out)]) == 0
    assert "32 channels to 3, with 100.0% of the variance of 30 pictures of train" in capsys.readouterr().out
    found = projection.read(out)
    assert np.abs(found.mean).max() < 10, "those of eval are not in it"
    assert found.pictures == 30 and found.encoder == fitted_on(config)
    again = encoders.load(config.model_copy(update={"projection": str(out)}))
    assert again.feature_shape == (8, 8, 3)


def test_a_part_of_them_is_always_the_same(root, capsys):
    said = []
    for name in ("a.npz", "b.npz"):
        command = ["project", "--root", str(root), "--channels", "2", "--pictures", "10", "--json"]
        assert main([*command, "--out", str(root / name)]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["pictures"] == 10 and said[0]["kept"] == said[1]["kept"] < 0.999
    assert projection.read(root / "a.npz").mean.tobytes() == projection.read(root / "b.npz").mean.tobytes()


def test_what_there_is_nothing_to_fit_on(root, config, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has no features yet"):
        project.fit(tmp_path / "empty", 2, tmp_path / "p.npz")
    store = FeatureStore(root / "features", encoders.digest(config))
    content = store.path(TRAIN[3]).read_bytes()
    store.path(TRAIN[3]).unlink()
    with pytest.raises(FeaturesError, match=rf"picture {TRAIN[3]} are gone .*ImageFeatures encodes what is missing"):
        project.fit(root, 2, tmp_path / "p.npz")
    store.path(TRAIN[3]).write_bytes(content)
    project.fit(root, 2, tmp_path / "p.npz")
    projected = config.model_copy(update={"projection": str(tmp_path / "p.npz")})
    say(root, projected)
    (root / "artifacts" / "ImageFeatures" / "features" / "12" / "features.json").write_text(
        json.dumps({"encoder": encoders.digest(projected), "shape": [2, 2, 32]})
    )
    with pytest.raises(UsageError, match=r"its features are projected themselves, by .*p\.npz"):
        project.fit(root, 2, tmp_path / "q.npz")
    say(root, config)
    with pytest.raises(UsageError, match="none of its runs says which encoder"):
        project.fit(root, 2, tmp_path / "q.npz")
