import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from memefly import devices, encoders
from memefly.encoders import EncoderConfig, precision, weights
from memefly.errors import EncoderError

PRECISIONS = ("float32", "auto", "bfloat16")


def test_a_model_file(small_encoder):
    encoder = encoders.load(EncoderConfig(weights=str(small_encoder), precision="float32"))
    assert (encoder.image_size, encoder.feature_shape) == ((64, 64), (8, 8, 32))
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    features = encoder.encode(pictures).numpy()
    assert features.dtype == np.float16
    np.testing.assert_allclose(features, encoder.model(pictures).numpy(), rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(features[:1], encoder.encode(pictures[:1]).numpy())


@pytest.mark.once
@pytest.mark.slow
def test_a_saved_model_is_the_same_encoder(small_encoder, tmp_path):
    import tensorflow as tf
    import tf_keras

    model = tf_keras.models.load_model(small_encoder)
    tf.saved_model.save(
        model, str(tmp_path / "m"), signatures=tf.function(model).get_concrete_function(model.inputs[0].type_spec)
    )
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    ours = encoders.load(EncoderConfig(weights=str(tmp_path / "m")))
    theirs = encoders.load(EncoderConfig(weights=str(small_encoder)))
    np.testing.assert_array_equal(ours.encode(pictures).numpy(), theirs.encode(pictures).numpy())


def test_pictures_of_another_size(small_encoder):
    encoder = encoders.load(EncoderConfig(weights=str(small_encoder), size=96, precision="float32"))
    as_made = encoders.load(EncoderConfig(weights=str(small_encoder), precision="float32"))
    assert (encoder.image_size, encoder.feature_shape) == ((96, 96), (12, 12, 32))
    assert encoder.name == "encoder.h5@96" and encoder.digest != as_made.digest
    assert [layer.name for layer in encoder.model.layers[1:]] == [layer.name for layer in as_made.model.layers[1:]]
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)
    part = as_made.encode(pictures[:, 16:80, 16:80]).numpy()  # a stride is 8 pixels
    np.testing.assert_allclose(encoder.encode(pictures).numpy()[:, 4:8, 4:8], part[:, 2:6, 2:6], rtol=2e-3, atol=1e-4)
    assert np.isfinite(part).all() and part.std() > 0.01


def test_a_model_that_takes_any_size_is_given_one(tmp_path):
    import tf_keras

    inputs = tf_keras.Input((None, None, 3))
    tf_keras.Model(inputs, tf_keras.layers.Conv2D(4, 3, strides=16, padding="same")(inputs)).save(tmp_path / "any.h5")
    with pytest.raises(EncoderError, match="takes pictures of any size, set encoder"):
        encoders.load(EncoderConfig(weights=str(tmp_path / "any.h5")))
    assert encoders.load(EncoderConfig(weights=str(tmp_path / "any.h5"), size=80)).feature_shape == (5, 5, 4)


@pytest.mark.slow
def test_a_model_of_one_size_only_is_refused_another(tmp_path):
    import tensorflow as tf
    import tf_keras

    x = inputs = tf_keras.Input((32, 32, 3))
    x = tf_keras.layers.Flatten()(tf_keras.layers.Conv2D(2, 3, strides=4)(x))
    model = tf_keras.Model(inputs, tf_keras.layers.Reshape((2, 2, 2))(tf_keras.layers.Dense(8)(x)))
    model.save(tmp_path / "dense.h5")
    with pytest.raises(EncoderError, match=r"takes pictures of \(32, 32\) only"):
        encoders.load(EncoderConfig(weights=str(tmp_path / "dense.h5"), size=64))
    assert encoders.load(EncoderConfig(weights=str(tmp_path / "dense.h5"), size=32)).feature_shape == (2, 2, 2)
    signature = tf.function(model).get_concrete_function(model.inputs[0].type_spec)
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures=signature)
    with pytest.raises(EncoderError, match="is a SavedModel, whose size is fixed"):
        encoders.load(EncoderConfig(weights=str(tmp_path / "saved"), size=64))


@pytest.mark.once
@pytest.mark.slow
def test_inception_at_another_size():
    encoder = encoders.load(EncoderConfig(weights="random", size=139))
    assert encoder.feature_shape == (3, 3, 2048) and encoder.name == "inception_v3/random-0@139"
    as_made = encoders.load(EncoderConfig(weights="random"))
    for ours, theirs in zip(encoder.model.get_weights(), as_made.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_digest_follows_the_weights(small_encoder, tmp_path):
    copy = tmp_path / small_encoder.name
    copy.write_bytes(small_encoder.read_bytes())
    assert encoders.digest(EncoderConfig(weights=str(copy))) == encoders.digest(
        EncoderConfig(weights=str(small_encoder))
    )
    copy.write_bytes(small_encoder.read_bytes()[:-1] + b"x")
    assert encoders.digest(EncoderConfig(weights=str(copy))) != encoders.digest(
        EncoderConfig(weights=str(small_encoder))
    )
    different = {
        encoders.digest(EncoderConfig(weights=w, seed=s)) for w, s in [("random", 0), ("random", 1), ("imagenet", 0)]
    }
    assert len(different) == 3


def test_digest_follows_what_precision_was_asked_for_and_not_the_machine(monkeypatch):
    def digests():
        return [encoders.digest(EncoderConfig(weights="random", precision=p)) for p in PRECISIONS]

    before = digests()
    assert len(set(before)) == 3
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    assert digests() == before


@pytest.mark.skipif("avx512f" not in Path("/proc/cpuinfo").read_text(), reason="needs a processor with AVX-512")
def test_precision_is_that_of_the_encoder_and_not_of_what_surrounds_it(small_encoder, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)  # without, oneDNN computes it by the way of float32
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    float32, auto, bfloat16 = (
        encoders.load(EncoderConfig(weights=str(small_encoder), precision=p)).encode for p in PRECISIONS
    )
    exact = float32(pictures).numpy()
    with precision.computing_in("bfloat16"):
        np.testing.assert_array_equal(float32(pictures).numpy(), exact)
    with precision.computing_in("float32"):
        near = bfloat16(pictures).numpy()
    np.testing.assert_array_equal(auto(pictures).numpy(), near)
    difference = np.linalg.norm((near - exact).astype(np.float32)) / np.linalg.norm(exact.astype(np.float32))
    assert 1e-3 < difference < 3e-2


@pytest.mark.parametrize(("error", "settled"), [(0.015, "float16"), (0.025, "float32")])
def test_auto_on_a_gpu_is_float16_where_features_agree(small_encoder, monkeypatch, error, settled):
    compiled = precision.always_in

    def always_in(asked, function):
        near = compiled(asked, function)  # without a GPU, TensorFlow leaves such a graph as it is
        return (lambda x: near(x) * (1 + error)) if asked == "float16" else near

    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    monkeypatch.setattr(precision, "always_in", always_in)
    float32, auto, bfloat16 = (
        encoders.load(EncoderConfig(weights=str(small_encoder), precision=p)) for p in PRECISIONS
    )
    assert auto.bulk_precision == settled and float32.bulk_precision == "float32"
    assert bfloat16.bulk_precision in ("bfloat16", "float32"), "what was asked for is not changed"


@pytest.mark.parametrize(("error", "settled"), [(0.015, "bfloat16"), (0.025, "float32")])
def test_auto_takes_bfloat16_only_where_features_agree(small_encoder, monkeypatch, error, settled):
    compiled = precision.always_in

    def always_in(asked, function):
        exact = compiled("float32", function)
        return (lambda x: exact(x) * (1 + error)) if asked == "bfloat16" else exact

    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "always_in", always_in)
    float32, auto, bfloat16 = (
        encoders.load(EncoderConfig(weights=str(small_encoder), precision=p)) for p in PRECISIONS
    )
    assert [e.bulk_precision for e in (float32, auto, bfloat16)] == ["float32", settled, "bfloat16"]
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    as_settled = {"float32": float32, "bfloat16": bfloat16}[settled]
    np.testing.assert_array_equal(auto.encode(pictures).numpy(), as_settled.encode(pictures).numpy())


def test_random_weights_follow_the_seed_and_keep_the_scale():
    import tf_keras

    def draw(seed):
        x = inputs = tf_keras.Input((16, 16, 3))
        for _ in range(6):
            x = tf_keras.layers.Conv2D(32, 3, padding="same", activation="relu", use_bias=False)(x)
        model = tf_keras.Model(inputs, x)
        weights._seed_weights(model, seed)
        return model

    a, b, c = draw(0), draw(0), draw(1)
    np.testing.assert_array_equal(a.get_weights()[0], b.get_weights()[0])
    assert np.abs(a.get_weights()[0] - c.get_weights()[0]).max() > 0.1
    noise = np.random.default_rng(0).standard_normal((4, 16, 16, 3)).astype(np.float32)
    assert 0.2 < float(np.std(a(noise))) < 5


@pytest.mark.parametrize("content", [b"", b"this is no model"])
def test_a_file_that_is_no_model(tmp_path, content):
    path = tmp_path / "m.h5"
    path.write_bytes(content)
    with pytest.raises(EncoderError, match="does not load"):
        encoders.load(EncoderConfig(weights=str(path)))


def test_a_path_that_leads_nowhere():
    with pytest.raises(EncoderError, match="no such file"):
        encoders.digest(EncoderConfig(weights="nowhere.h5"))


def test_a_model_of_the_wrong_shape(tmp_path):
    import tf_keras

    inputs = tf_keras.Input((8, 8, 1))
    tf_keras.Model(inputs, tf_keras.layers.Flatten()(inputs)).save(tmp_path / "flat.h5")
    with pytest.raises(EncoderError, match=r"expected float32 \(B, H, W, 3\)"):
        encoders.load(EncoderConfig(weights=str(tmp_path / "flat.h5")))


@pytest.fixture
def server(tmp_path):
    """A local server of the files in `tmp_path / "www"`; its address, and the requests it got."""
    (tmp_path / "www").mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            requests.append(self.path)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "www")
    ) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", requests
        httpd.shutdown()


def test_imagenet_is_downloaded_once_and_checked(server, tmp_path, monkeypatch):
    import hashlib

    address, requests = server
    (tmp_path / "www" / "w.h5").write_bytes(b"the weights")
    config = EncoderConfig(imagenet_url=f"{address}/w.h5", cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "IMAGENET_MD5", hashlib.md5(b"the weights").hexdigest())
    path = weights.imagenet_weights(config)
    assert Path(path).read_bytes() == b"the weights"
    assert weights.imagenet_weights(config) == path
    assert len(requests) == 1


def test_imagenet_that_is_not_what_it_says_is_refused(server, tmp_path):
    address, _ = server
    (tmp_path / "www" / "w.h5").write_bytes(b"something else")
    config = EncoderConfig(imagenet_url=f"{address}/w.h5", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(EncoderError, match="mirror"):
        weights.imagenet_weights(config)
    assert not list((tmp_path / "cache").glob("*.h5"))


@pytest.mark.slow
def test_imagenet_without_network_says_what_to_do(tmp_path):
    config = EncoderConfig(imagenet_url="http://127.0.0.1:1/w.h5", cache_dir=str(tmp_path))
    with pytest.raises(EncoderError, match=r"give encoder\.weights a model file"):
        weights.imagenet_weights(config)
