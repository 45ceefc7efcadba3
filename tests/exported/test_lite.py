import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import exported_model
import numpy as np
import pytest

from memefly import networks, ngrams, text
from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.encoders.standardize import Standardizer
from memefly.errors import ModelError
from memefly.exported import lite, loading
from memefly.exported.manifest import read_manifest
from memefly.networks import NetworkConfig
from memefly.networks.interpolated import Interpolated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(exported):
    return loading.load(exported)


@pytest.fixture(scope="module")
def small(model, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "1700000000"
    lite.convert(model, folder, pictures[:30])
    return folder


def test_it_says_nearly_what_the_model_says(model, small, pictures):
    """The likeliest captions of pictures it was not calibrated with; most words, and the scores."""
    ours, theirs = loading.load(small).caption(pictures[30:]), model.caption(pictures[30:])
    assert len({row[0].text for row in theirs}) > 3, "a model that says one thing to everything would prove nothing"
    same = [a[0].text == b[0].text for a, b in zip(ours, theirs)]
    assert np.mean(same) > 0.7
    scores = [[row[0].score for row in rows] for rows in (ours, theirs)]
    assert np.abs(np.subtract(*scores)).mean() < 0.1 * np.abs(scores[1]).mean()


@pytest.mark.once
def test_in_float32_it_says_what_the_model_says(model, pictures, tmp_path):
    lite.convert(model, tmp_path / "1700000000", precision="fp32")
    exact = loading.load(tmp_path / "1700000000")
    assert exact.manifest["precision"] == "fp32" and "calibration" not in exact.manifest
    ours, theirs = exact.caption(pictures), model.caption(pictures)
    assert len({row[0].text for row in theirs}) > 3
    assert [[one.text for one in row] for row in ours] == [[one.text for one in row] for row in theirs]
    np.testing.assert_allclose(
        [one.score for row in ours for one in row], [one.score for row in theirs for one in row], atol=1e-3
    )


@pytest.mark.once
def test_pictures_of_several_calls_go_through_side_by_side(small, pictures):
    """Whether one comes alone, in a call with others or beside other calls, it gets its caption; what is no picture
    takes none from the others."""
    model = lite.LiteModel(small, threads=3)
    alone = [model.predict([data]) for data in pictures[:6]]
    together = model.predict([*pictures[:3], b"none", *pictures[3:6]])
    assert together["error"].tolist() == [b"", b"", b"", lite.NOT_A_PICTURE.encode(), b"", b"", b""]
    assert together["caption"][3] == b""
    assert [*together["caption"][:3], *together["caption"][4:]] == [one["caption"][0] for one in alone]
    with ThreadPoolExecutor(6) as callers:
        beside = list(callers.map(lambda i: model.predict([pictures[i % 6]]), range(60)))
    assert [one["caption"][0] for one in beside] == [alone[i % 6]["caption"][0] for i in range(60)]
    np.testing.assert_allclose(
        [one["score"][0] for one in beside], [alone[i % 6]["score"][0] for i in range(60)], atol=1e-5
    )


def test_the_search_is_that_of_the_model(model, small, pictures):
    """On the same features, eight-bit weights apart: all hypotheses, best first, each within the length it may have."""
    lite_model = loading.load(small)
    out = lite_model.predict(pictures[:5])
    expected = model.predict(pictures[:5])
    assert {k: (v.shape, v.dtype) for k, v in out.items()} == {k: (v.shape, v.dtype) for k, v in expected.items()}
    assert (np.diff(out["scores"], axis=1) <= 0).all()
    assert all(0 < len(text.tokenize(c.decode())) <= 6 for row in out["captions"] for c in row)


@pytest.mark.parametrize(
    ("kinds", "ngram"),
    [
        pytest.param(["attention"] * 2, 0, marks=pytest.mark.once),
        pytest.param(["attention"] * 2, 3, marks=pytest.mark.once),
        pytest.param(["transformer"] * 2, 0, marks=pytest.mark.once),
        (["attention", "transformer"], 0),
    ],
)
def test_an_ensemble_is_searched_as_in_the_graph(kinds, ngram):
    """Weights of matrices so small stay float32: the same captions, the same scores."""
    sizes = {"layers": 1, "embedding": 6, "units": 8, "attention_units": 4, "tie_weights": False}
    first, *others = ({"kind": kind, **sizes} for kind in kinds)
    config = NetworkConfig(**first, beside=others)
    network, standardizer = networks.build(config, 12, (2, 3, 5), seed=0), Standardizer(np.zeros(5), np.ones(5))
    for member in network.members:
        member.words.kernel.assign(8 * member.words.kernel)  # so that words differ
    if ngram:
        network = Interpolated(network, ngram)
        network.ngrams.fill(ngrams.count([[1, 5, 6, 7, 2], [1, 5, 6, 8, 2], [1, 9, 9, 4, 2]] * 2, 12, ngram))
        network.trust.assign(0.4 * network.trust)
    decoding = DecodingConfig(beam=3, max_length=6)
    interpreter = lite.Interpreter(model_content=lite.search_of(network, standardizer, decoding, (2, 3, 5)))
    search = interpreter.get_signature_runner()
    for seed in range(5):
        features = np.random.default_rng(seed).standard_normal((1, 2, 3, 5)).astype(np.float32)
        found, expected = search(features=features), decode(network, standardizer(features), decoding)
        np.testing.assert_array_equal(found["tokens"], expected.tokens)
        np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-4)


@pytest.mark.parametrize("kind", [pytest.param("attention", marks=pytest.mark.once), "transformer"])
def test_candidates_are_chosen_as_in_the_graph(kind):
    config = NetworkConfig(kind=kind, layers=1, embedding=6, units=8, attention_units=4, tie_weights=False)
    network, standardizer = networks.build(config, 12, (2, 3, 5), seed=0), Standardizer(np.zeros(5), np.ones(5))
    network.words.kernel.assign(4 * network.words.kernel)
    decoding = DecodingConfig(
        beam=2, candidates=8, max_length=7, mmi=0.5, repetition=1.0, difference=1.0, boxes=2, block_ngram=0
    )
    flatbuffer = lite.search_of(network, standardizer, decoding, (2, 3, 5), break_id=4)
    search = lite.Interpreter(model_content=flatbuffer).get_signature_runner()
    for seed in range(5):
        features = np.random.default_rng(seed).standard_normal((1, 2, 3, 5)).astype(np.float32)
        found, expected = search(features=features), decode(network, standardizer(features), decoding, break_id=4)
        np.testing.assert_array_equal(found["tokens"], expected.tokens)
        np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-4)


@pytest.mark.once
def test_a_bad_picture_gets_an_error_of_its_own(small, pictures):
    out = loading.load(small).predict([b"no picture", pictures[0]])
    assert out["caption"][0] == b"" and out["score"][0] < -1e6 and b"JPEG" in out["error"][0]
    assert out["caption"][1] == loading.load(small).predict(pictures[:1])["caption"][0] and out["error"][1] == b""
    assert loading.load(small).predict([])["captions"].shape == (0, 3)


@pytest.mark.once
def test_what_is_blocked_is_said_by_no_form_of_a_model(small_encoder, pictures, tmp_path):
    """The words and the phrase that it would say most; its int8 form keeps to the same lists."""
    free = exported_model.make(tmp_path, small_encoder)
    model = loading.load(exported_model.write(free, tmp_path / "free"))
    said = [row[0].text for row in model.caption(pictures[:30])]
    (favourite, _), *_ = Counter(word for caption in said for word in caption.split()).most_common()
    pair = Counter(pair for caption in said for pair in zip(caption.split(), caption.split()[1:])).most_common()
    first, second = next(pair for pair, _ in pair if favourite not in pair)
    safety = {"block": [favourite, f"{first} {second}"]}
    captioner = exported_model.make(tmp_path, small_encoder, safety=safety)
    strict = loading.load(exported_model.write(captioner, tmp_path / "1", safety))
    lite.convert(strict, tmp_path / "2", pictures[:30])
    drawn = strict.decode(pictures[:10], {"temperature": 2.0, "beam": 8, "seed": 5})
    for out in (strict.predict(pictures[:30]), loading.load(tmp_path / "2").predict(pictures[:30]), drawn):
        texts = [caption.decode() for row in out["captions"] for caption in row]
        assert any(texts) and not [t for t in texts if favourite in t.split() or f"{first} {second}" in t]


def test_a_quarter_of_the_size(model, small):
    """Of the weights; the rest of a model so small is its graph."""
    variables = sum(p.stat().st_size for p in (model.folder / "variables").iterdir())
    assert (small / lite.ENCODER).stat().st_size < variables
    manifest = read_manifest(small)
    assert manifest["precision"] == "int8" and manifest["of"] == model.manifest["digest"]
    assert manifest["digest"] != manifest["of"]


@pytest.mark.once
def test_what_is_refused(model, small, pictures, tmp_path):
    with pytest.raises(ModelError, match="at least 20 pictures"):
        lite.convert(model, tmp_path / "few", pictures[:3])
    with pytest.raises(ModelError, match="not empty"):
        lite.convert(model, small, pictures[:30])
    with pytest.raises(ModelError, match="beam cannot be set"):
        loading.load(small).caption(pictures[:1], beam=5)
    assert loading.load(small).caption(pictures[:1], beam=3)  # as it is anyway
    broken = shutil.copytree(small, tmp_path / "broken")
    (broken / lite.DECODER).write_bytes(b"broken")
    with pytest.raises(ModelError, match="does not load as a LiteRT model"):
        loading.load(broken)
    assert not (tmp_path / "few").exists()
