import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from memefly import training
from memefly.errors import TrainingError
from memefly.networks import NetworkConfig
from memefly.standardize import Standardizer
from memefly.text import RESERVED_TOKENS, Vocabulary
from memefly.training import Examples, TrainingConfig, batches, count_groups, read, train

SHAPE, T = (2, 2, 6), 8
COLOURS, ANIMALS = ("red", "green", "blue"), ("cat", "dog", "frog", "owl")
VOCABULARY = Vocabulary([*RESERVED_TOKENS, "a", "the", "is", *COLOURS, *ANIMALS])
NETWORK = NetworkConfig(embedding=16, units=24, attention_units=16, dropout=0.0)


def write(path: Path, pictures: int, captions: int = 3, seed: int = 0) -> list[str]:
    """Transformed Examples whose features say which of twelve things the picture shows."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((12, *SHAPE))
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for i in range(pictures):
            what = (i * 7 + seed) % 12
            colour, animal = COLOURS[what % 3], ANIMALS[what // 3]
            texts = [f"a {colour} {animal}", f"the {animal} is {colour}", f"the {colour} {animal}"]
            texts = [texts[k % 3] for k in range(captions)]
            features = (directions[what] + 0.1 * rng.standard_normal(SHAPE)).astype(np.float16)
            ids = [VOCABULARY.encode(t, T) for t in texts]
            tokens = [t for row in ids for t in row + [0] * (T - len(row))]
            feature = {
                "features": tf.train.Feature(bytes_list=tf.train.BytesList(value=[features.tobytes()])),
                "tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=tokens)),
                "captions": tf.train.Feature(bytes_list=tf.train.BytesList(value=[t.encode() for t in texts])),
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(i).encode()])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return [str(path)]


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    folder = tmp_path_factory.mktemp("examples")
    return Examples(write(folder / "train.gz", 48), write(folder / "val.gz", 12, seed=5), SHAPE, T)


STANDARDIZER = Standardizer(np.zeros(6, np.float32), np.ones(6, np.float32))
CONFIG = TrainingConfig(epochs=16, pictures=8, captions_per_picture=3, learning_rate=0.01, patience=16)


def fit(examples, checkpoints, config=CONFIG, **arguments):
    return train(examples, STANDARDIZER, VOCABULARY, NETWORK, config, checkpoints, **arguments)


@pytest.fixture(scope="module")
def trained(examples, tmp_path_factory):
    """A training that stops by itself: result and events."""
    events = []
    config = CONFIG.model_copy(update={"epochs": 40, "patience": 6})
    result = fit(
        examples, tmp_path_factory.mktemp("ck"), config, on_event=lambda name, values: events.append((name, values))
    )
    return result, events


def test_learns_what_pictures_show(trained):
    result, events = trained
    assert result.metrics["bleu3"] > 0.9
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
    assert events[0][0] == "start" and events[0][1]["steps"] == 240 and events[0][1]["steps_an_epoch"] == 6
    epoch = next(values for name, values in events if name == "epoch")
    assert epoch["samples"][0]["references"][0].startswith("a ")


def test_stops_early_and_returns_the_best(trained):
    result, _ = trained
    assert len(result.history) < 40
    scores = [h["val_bleu4"] for h in result.history]
    assert result.metrics["bleu4"] == max(scores)
    assert scores.index(max(scores)) == len(scores) - 1 - 6


def test_a_training_that_was_stopped_ends_as_one_that_was_not(examples, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    config = CONFIG.model_copy(update={"epochs": 2, "checkpoint_steps": 2})
    whole = fit(examples, tmp_path / "whole", config)

    batches_of, left = training.batches, [9]  # in the second epoch, a step after a checkpoint

    class Interrupted:
        def __init__(self, inner):
            self.inner = inner

        def skip(self, n):
            return Interrupted(self.inner.skip(n))

        def __iter__(self):
            for batch in self.inner:
                if left[0] == 0:
                    raise Stop
                left[0] -= 1
                yield batch

    with monkeypatch.context() as patch:
        patch.setattr(training, "batches", lambda *arguments: Interrupted(batches_of(*arguments)))
        with pytest.raises(Stop):
            fit(examples, tmp_path / "stopped", config)
    resumed = fit(examples, tmp_path / "stopped", config)
    for a, b in zip(whole.network.variables, resumed.network.variables):
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg=a.name)
    assert [h["step"] for h in resumed.history] == [h["step"] for h in whole.history]


def test_learning_rate_warms_up_and_decays(trained):
    rates = {values["step"]: values["learning_rate"] for name, values in trained[1] if name in ("step", "epoch")}
    assert max(rates.values()) <= CONFIG.learning_rate * (1 + 1e-6)
    assert rates[6] < rates[12] and rates[max(rates)] < max(rates.values())


def test_max_steps(examples, tmp_path):
    result = fit(examples, tmp_path, CONFIG.model_copy(update={"max_steps": 3}))
    assert [h["step"] for h in result.history] == [3]


def test_every_caption_comes_once_an_epoch(tmp_path):
    files = write(tmp_path / "t.gz", 10, captions=7)
    examples = Examples(files, files, SHAPE, T)
    config = TrainingConfig(pictures=4, captions_per_picture=3, shuffle_buffer=5)
    assert count_groups(examples, 3) == [10, 10, 10]
    rows = [
        row.tobytes()
        for features, tokens in batches(examples, config, 3, epoch=0)
        for row in np.pad(tokens.numpy(), [(0, 0), (0, 0), (0, T - tokens.shape[2])]).reshape(-1, T)
        if row.any()
    ]
    expected = [row.tobytes() for one in read(files, examples) for row in one["tokens"].numpy()]
    assert sorted(rows) == sorted(expected)


def test_order_follows_seed_and_epoch(examples):
    def order(seed, epoch):
        config = CONFIG.model_copy(update={"seed": seed})
        return [f.numpy().tobytes() for f, _ in batches(examples, config, 1, epoch)]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_nothing_to_train_on(tmp_path):
    files = write(tmp_path / "none.gz", 0)
    with pytest.raises(TrainingError, match="train split has no captions"):
        fit(Examples(files, files, SHAPE, T), tmp_path)


def test_a_loss_that_is_not_finite_stops(examples, tmp_path):
    broken = Standardizer(np.full(6, np.nan, np.float32), np.ones(6, np.float32))
    with pytest.raises(TrainingError, match=r"smaller training\.learning_rate"):
        train(examples, broken, VOCABULARY, NETWORK, CONFIG, tmp_path)


def test_standardizer():
    features = np.random.default_rng(0).normal(3, 5, (50, 2, 2, 6)).astype(np.float16)
    features[..., 2] = 1.5
    mean, std = features.astype(np.float64).mean((0, 1, 2)), features.astype(np.float64).std((0, 1, 2))
    out = Standardizer(mean.astype(np.float32), std.astype(np.float32))(features).numpy()
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(out.std((0, 1, 2)), [1, 1, 0, 1, 1, 1], atol=1e-3)
    assert math.isclose(float(Standardizer(np.zeros(1), np.ones(1) * 1e-3)(np.ones((1, 1, 1, 1)))[0, 0, 0, 0]), 10.0)
