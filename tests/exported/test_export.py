import json
import shutil
import subprocess
import sys
from pathlib import Path

import exported_model
import numpy as np
import pytest
import tensorflow as tf
from exported_model import DECODING, WORDS

from memefly import encoders
from memefly.decoding import KNOBS, decode
from memefly.encoders import EncoderConfig
from memefly.errors import ModelError
from memefly.exported import loading
from memefly.exported.captioner import export
from memefly.exported.manifest import MANIFEST, newest_version, read_manifest
from memefly.exported.parts import load_parts
from memefly.exported.warmup import LARGEST_BATCH, WARMUP
from memefly.rules import dangling_ids
from memefly.text import Vocabulary

pytestmark = pytest.mark.slow


def test_serving_equals_training(captioner, exported, pictures, small_encoder):
    """Captions of the exported model equal those of the in-memory one, whose features come from the bulk encoder."""
    encoder = encoders.load(EncoderConfig(weights=str(small_encoder), precision="float32"))
    features = encoder.encode_bytes(pictures)
    vocabulary = Vocabulary(WORDS)
    decoded = decode(captioner.network, captioner.standardizer(features), DECODING, dangling_ids(vocabulary))
    expected = [[vocabulary.decode(ids) for ids in beams] for beams in decoded.tokens.numpy()]
    served = loading.load(exported).caption(pictures, batch_size=7)
    assert [[c.text for c in row] for row in served] == expected
    assert len({row[0] for row in expected}) > 3, "a model that says one thing to everything would prove nothing"
    np.testing.assert_allclose([[c.score for c in row] for row in served], decoded.scores, rtol=1e-3)


@pytest.mark.once
def test_n_grams_go_with_the_model(captioner, small_encoder, pictures, tmp_path):
    """They have their say in what is exported, and whoever loads its parts has them."""
    with_them = exported_model.make(tmp_path, small_encoder, ngram=3)
    folder = exported_model.write(with_them, tmp_path / "1700000000")
    served = loading.load(folder).caption(pictures[:8])
    encoder = encoders.load(EncoderConfig(weights=str(small_encoder), precision="float32"))
    features = with_them.standardizer(encoder.encode_bytes(pictures[:8]))
    vocabulary = Vocabulary(WORDS)

    def said(network):
        decoded = decode(network, features, DECODING, dangling_ids(vocabulary))
        return [[vocabulary.decode(ids) for ids in beams] for beams in decoded.tokens.numpy()]

    assert [[c.text for c in row] for row in served] == said(with_them.network) == said(load_parts(folder).network)
    assert said(with_them.network) != said(with_them.network.network)


def test_signatures_answer_as_documented(exported, pictures):
    loaded = tf.saved_model.load(str(exported))
    batch = tf.constant(pictures[:4])
    served = loaded.signatures["serving_default"](image_bytes=batch)
    assert {k: (v.dtype.name, v.shape.as_list()) for k, v in served.items()} == {
        "caption": ("string", [4]),
        "score": ("float32", [4]),
        "captions": ("string", [4, 3]),
        "scores": ("float32", [4, 3]),
        "error": ("string", [4]),
    }
    explained = loaded.signatures["explain"](image_bytes=batch)
    assert explained["tokens"].shape == (4, 7) and explained["alphas"].shape == (4, 7, 8, 8)
    spelled = [b" ".join(w for w in row if w not in (b"", b"</s>")) for row in explained["tokens"].numpy()]
    assert spelled == list(served["caption"].numpy())
    evaluated = loaded.signatures["evaluate"](image=batch)
    np.testing.assert_array_equal(evaluated["caption"], served["caption"])


def test_where_it_looks_as_it_says_what_it_is_given(exported, pictures):
    model = loading.load(exported)
    own = [row[0].text for row in model.caption(pictures[:3])]
    best, again = model.explain(pictures[:3]), model.explain(pictures[:3], own)
    assert [" ".join(one.words) for one in again] == own
    for one, other in zip(best, again):
        np.testing.assert_allclose(one.weights, other.weights, atol=1e-5)
    others = own[1:] + own[:1]
    assert others != own
    said = model.explain(pictures[:3], others)
    assert [" ".join(one.words) for one in said] == others
    assert all(one.weights.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-3) for one in said)


@pytest.mark.once
def test_the_gate_is_given_as_many_captions_as_it_judges(small_encoder, pictures, tmp_path):
    """Each with a seed of its own, from the configured one on, as `decode` draws them."""
    decoding = DECODING.model_copy(update={"temperature": 1.5, "seed": 5, "judged": 4})
    signatures = exported_model.make(tmp_path, small_encoder, decoding=decoding).signatures()
    batch = tf.constant([*pictures[:6], b"no picture"])
    found = signatures["evaluate"](batch)
    knobs = [tf.constant([getattr(decoding, name)], kind) for name, kind in KNOBS.items()]
    place = list(KNOBS).index("seed")
    for i in range(4):
        knobs[place] = tf.constant([5 + i])
        np.testing.assert_array_equal(found["drawn"][:, i], signatures["decode"](batch, *knobs)["caption"])
    np.testing.assert_array_equal(found["caption"], found["drawn"][:, 0])
    assert found["drawn"].shape == (7, 4) and set(found["drawn"].numpy()[6]) == {b""}
    assert len(set(found["drawn"].numpy()[0])) > 1


@pytest.mark.once
def test_knobs_through_the_signature(captioner, exported, pictures):
    loaded = tf.saved_model.load(str(exported)).signatures["decode"]
    batch = tf.constant(pictures[:4])
    same = {name: tf.constant([getattr(DECODING, name)], kind) for name, kind in KNOBS.items()}
    same["prefix"] = tf.constant([""])
    served = tf.saved_model.load(str(exported)).signatures["serving_default"](image_bytes=batch)
    for key, value in loaded(image_bytes=batch, **same).items():
        if value.dtype == tf.string:
            np.testing.assert_array_equal(value, served[key])
        else:
            np.testing.assert_allclose(value, served[key], rtol=1e-4)
    one_each = same | {"beam": tf.constant([1, 2, 5, 3])}
    captions = loaded(image_bytes=batch, **one_each)["captions"].numpy()
    assert captions.shape == (4, 5) and captions[0, 0] and not any(captions[0, 1:])
    model = loading.load(exported)
    assert [len(row) for row in model.caption(pictures[:2], beam=5)] == [5, 5]
    drawn = [[c.text for c in row] for row in model.caption(pictures[:4], temperature=2.0, seed=5)]
    assert drawn == [
        [c.text for c in row] for row in model.caption(pictures[:4], temperature=2.0, seed=5, batch_size=3)
    ]
    assert drawn != [[c.text for c in row] for row in model.caption(pictures[:4], temperature=2.0, seed=6)]


def test_defaults_of_the_knobs_are_in_the_signature(exported):
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes()).meta_graphs[0]
    defaults = {k: tf.make_ndarray(v).tolist() for k, v in graph.signature_def["decode"].defaults.items()}
    assert defaults.pop("prefix") == [b""]
    assert defaults == {name: [pytest.approx(getattr(DECODING, name))] for name in KNOBS}


def test_the_parts_of_a_model(captioner, exported, pictures):
    parts, model = load_parts(exported), loading.load(exported)
    for ours, theirs in zip(parts.network.variables, captioner.network.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(parts.standardizer.mean, captioner.standardizer.mean)
    assert parts.vocabulary.words == tuple(WORDS)
    features = model.features(pictures[:5], batch_size=2)
    np.testing.assert_allclose(features, captioner.features(tf.constant(pictures[:5]))[0], atol=1e-3)


def test_a_stranger_can_load_it_from_elsewhere(exported, pictures, tmp_path):
    """Another process, another folder, none of our code: TensorFlow alone."""
    moved = shutil.copytree(exported, tmp_path / "moved")
    (tmp_path / "picture").write_bytes(pictures[0])
    code = (
        "import sys, tensorflow as tf; m = tf.saved_model.load(sys.argv[1]); "
        "b = open(sys.argv[2], 'rb').read(); "
        "print(m.signatures['serving_default'](image_bytes=tf.constant([b]))['caption'].numpy()[0].decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(moved), str(tmp_path / "picture")],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == loading.load(exported).caption(pictures[:1])[0][0].text


def session_answers(folder, signature: str, inputs: dict) -> dict[str, np.ndarray]:
    """Through the loader of TensorFlow 1, whose C++ side is the one in TensorFlow Serving: tag, assets, init op."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
        told = meta.signature_def[signature]
        return session.run(
            {name: info.name for name, info in told.outputs.items()},
            {told.inputs[name].name: value for name, value in inputs.items()},
        )


def test_the_session_loader_answers_alike(exported, pictures):
    loaded = tf.saved_model.load(str(exported))
    for name, argument in (("serving_default", "image_bytes"), ("explain", "image_bytes"), ("evaluate", "image")):
        answers = session_answers(exported, name, {argument: [*pictures[:3], b"no picture"]})
        expected = loaded.signatures[name](**{argument: tf.constant([*pictures[:3], b"no picture"])})
        assert set(answers) == set(expected)
        for key, value in expected.items():
            if value.dtype == tf.string:
                np.testing.assert_array_equal(answers[key], value)
            else:
                np.testing.assert_allclose(answers[key], value, atol=1e-5)


@pytest.mark.once
def test_a_bad_picture_gets_an_error_of_its_own(exported, pictures):
    bad = [b"", b"no picture", pictures[0][:50]]
    mixed = [bad[0], pictures[0], bad[1], pictures[1], bad[2]]
    loaded = tf.saved_model.load(str(exported))
    served = {k: v.numpy() for k, v in loaded.signatures["serving_default"](image_bytes=tf.constant(mixed)).items()}
    alone = loading.load(exported).caption(pictures[:2])
    assert [c.decode() for c in served["caption"][[1, 3]]] == [row[0].text for row in alone]
    fit = np.array([False, True, False, True, False])
    assert ((served["error"] == b"") == fit).all() and b"JPEG" in served["error"][0]
    assert (served["captions"][~fit] == b"").all() and (served["scores"][~fit] < -1e6).all()
    explained = loaded.signatures["explain"](image_bytes=tf.constant(mixed))
    assert (explained["tokens"].numpy()[~fit] == b"").all() and not explained["alphas"].numpy()[~fit].any()
    assert loading.load(exported).caption(mixed)[0] == []


def test_nothing_in_the_graph_is_tied_to_this_place(exported, tmp_path_factory):
    """No Python function, no operation of our own, no path of this machine."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = (exported / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    ops = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert not ops & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
    assert all(tf.raw_ops.__dict__.get(op) or op.startswith("_") or op == "Placeholder" for op in ops), ops
    for place in (tmp_path_factory.getbasetemp(), exported.parent, Path.home()):
        assert str(place).encode() not in content


@pytest.mark.once
def test_read_only_and_by_two_at_once(exported, pictures, tmp_path):
    """From a folder that nobody may write to, in two processes at the same time: the same captions, each time."""
    moved = shutil.copytree(exported, tmp_path / "moved")
    (tmp_path / "picture").write_bytes(pictures[0])
    for path in [moved, *moved.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = (
        "import sys, tensorflow as tf; m = tf.saved_model.load(sys.argv[1]); "
        "b = open(sys.argv[2], 'rb').read(); "
        "serve = lambda: m.signatures['serving_default'](image_bytes=tf.constant([b]))['captions'].numpy().tolist(); "
        "print([serve(), serve()])"
    )
    command = [sys.executable, "-c", code, str(moved), str(tmp_path / "picture")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    expected = [c.text.encode() for c in loading.load(exported).caption(pictures[:1])[0]]
    assert said[0] == said[1] and eval(said[0]) == [[expected]] * 2


def test_warmup_requests_replay(exported):
    from tensorflow_serving.apis import prediction_log_pb2

    loaded, sizes = tf.saved_model.load(str(exported)), []
    for record in tf.data.TFRecordDataset(str(exported / WARMUP)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.signature_name == "serving_default"
        batch = tf.make_ndarray(request.inputs["image_bytes"])
        loaded.signatures["serving_default"](image_bytes=tf.constant(batch))
        sizes.append(len(batch))
    assert sizes == list(range(1, LARGEST_BATCH + 1))


@pytest.mark.once
def test_digest_follows_weights_and_vocabulary(captioner, exported, tmp_path):
    manifest = {"config": {}, "metrics": {}}
    export(captioner, tmp_path / "again", dict(manifest))
    same = read_manifest(tmp_path / "again")["digest"]
    assert same == read_manifest(exported)["digest"]
    bias = captioner.network.words.bias
    before = bias.numpy()
    bias.assign_add(tf.ones_like(bias))
    try:
        export(captioner, tmp_path / "other", dict(manifest))
    finally:
        bias.assign(before)
    assert read_manifest(tmp_path / "other")["digest"] != same


@pytest.mark.once
def test_digest_follows_the_biases_of_the_encoder(small_encoder, exported, tmp_path):
    """They are numbers in the graph, not variables."""
    import tf_keras
    from exported_model import make, write

    encoder = tf_keras.models.load_model(small_encoder)
    bias = encoder.get_layer("conv2d_1").bias
    bias.assign(bias + 0.5)
    encoder.save(tmp_path / "other.h5")
    write(make(tmp_path, tmp_path / "other.h5"), tmp_path / "other")
    assert read_manifest(tmp_path / "other")["digest"] != read_manifest(exported)["digest"]


@pytest.mark.once
def test_newest_version(exported, tmp_path):
    for version in ("9", "10", "not-a-version"):
        shutil.copytree(exported, tmp_path / version)
    assert newest_version(tmp_path).name == "10"
    assert newest_version(tmp_path / "9").name == "9"


@pytest.mark.once
def test_what_is_no_model(tmp_path, exported):
    with pytest.raises(ModelError, match="is not a model of memefly"):
        loading.load(tmp_path)
    broken = shutil.copytree(exported, tmp_path / "5")
    (broken / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(ModelError, match="does not load as a SavedModel"):
        loading.load(tmp_path)
    (broken / MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        loading.load(tmp_path)


@pytest.mark.once
def test_the_command_line_captions(exported, memes, tmp_path, capsys):
    from PIL import Image

    from memefly.commands import main as cli

    good = sorted((memes / "images").iterdir())[0]
    webp, bad = tmp_path / "same.webp", tmp_path / "bad.jpg"
    Image.open(good).save(webp, lossless=True)
    bad.write_bytes(b"nothing")
    assert cli.main(["caption", "--model", str(exported), "--json", "--beam", "2", str(good), str(webp), str(bad)]) == 2
    out = capsys.readouterr()
    first, second, third = map(json.loads, out.out.splitlines())
    assert first["captions"] == second["captions"] and len(first["captions"]) == 2
    assert third["reason"] == "not_a_picture" and third["captions"] == []
    assert "bad.jpg: not a picture" in out.err
    command = ["caption", "--model", str(exported), "--json", str(good)]
    assert cli.main([*command, "--beam", "4", "--decode", "temperature=2.5", "--decode", "seed=3"]) == 0
    drawn = json.loads(capsys.readouterr().out)["captions"]
    assert len(drawn) == 4 and [c["caption"] for c in drawn[:2]] != [c["caption"] for c in first["captions"]]
    for wrong, said in (
        ("beams=2", "no such knobs"),
        ("top_p=2.5", "top_p"),
        ("max_length=99", "exported for 7 tokens"),
    ):
        assert cli.main([*command, "--decode", wrong]) == 2
        assert said in capsys.readouterr().err


def test_a_prefix_through_the_signature(exported, pictures):
    """Text, one for each picture, with a beam and with samples; what is served without one is as before."""
    model = loading.load(exported)
    plain = [row[0].text for row in model.caption(pictures[:3], beam=3)]
    begun = [[c.text for c in row] for row in model.caption(pictures[:3], beam=3, prefix="Brace yourselves, zebra")]
    assert all(text.startswith("brace yourselves zebra ") for row in begun for text in row)
    assert len({text for row in begun for text in row}) > 3
    each = model.decode(pictures[:3], {"prefix": ["grumpy", "", "one does"]})["caption"]
    assert [one.decode().startswith(begin) for one, begin in zip(each, ("grumpy", plain[1], "one does"))] == [True] * 3
    (drawn,) = model.caption(pictures[:1], beam=4, temperature=2.0, seed=3, prefix="one does not simply")
    assert len({c.text for c in drawn}) > 1 and all(c.text.startswith("one does not simply") for c in drawn)


def test_an_older_model_has_no_prefix(exported, pictures, monkeypatch):
    model = loading.load(exported)
    monkeypatch.setattr(type(model), "_begins", property(lambda self: False))
    with pytest.raises(ModelError, match="older memefly and has no prefix"):
        model.caption(pictures[:1], prefix="so")
