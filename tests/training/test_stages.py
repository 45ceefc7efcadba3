import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from memefly import encoders, networks
from memefly.encoders import EncoderConfig
from memefly.encoders.standardize import Standardizer
from memefly.errors import EncoderError, TrainingError
from memefly.likelihood import Likelihood
from memefly.metrics.information import bits_a_character
from memefly.networks import NetworkConfig
from memefly.spelling import PLAIN
from memefly.training import FineTuningConfig, SelfCriticalConfig, stages, train
from memefly.training.inputs import batches, validation
from tests.training.toy import CONFIG, NETWORK, SHAPE, STANDARDIZER, VOCABULARY, examples_of, fit, write


def changed(**changes):
    return CONFIG.model_copy(update=changes)


@pytest.fixture(scope="module")
def trained(examples, tmp_path_factory):
    """A training that stops by itself: result and events."""
    events = []
    result = fit(
        examples,
        tmp_path_factory.mktemp("ck"),
        changed(epochs=40, patience=6, stop_on="bleu4"),
        on_event=lambda name, values: events.append((name, values)),
    )
    return result, events


@pytest.mark.once
@pytest.mark.slow
def test_learns_what_pictures_show(trained):
    result, events = trained
    assert result.metrics["bleu3"] > 0.9
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
    assert events[0] == ("start", {"stage": "cross_entropy", "steps": 240, "steps_an_epoch": 6})
    epoch = next(values for name, values in events if name == "epoch")
    assert epoch["samples"][0]["references"][0].startswith("a ")


@pytest.mark.once
@pytest.mark.slow
def test_stops_early_and_returns_the_best(trained):
    result, _ = trained
    assert len(result.history) < 40
    scores = [h["val_bleu4"] for h in result.history]
    assert result.metrics["bleu4"] == max(scores)
    assert scores.index(max(scores)) == len(scores) - 1 - 6


@pytest.mark.once
@pytest.mark.slow
def test_stops_on_how_well_it_foresees_what_people_wrote(examples, tmp_path):
    result = fit(examples, tmp_path, changed(epochs=12, patience=3, learning_rate=0.03, stop_on="bits_a_character"))
    bits = [h["val_bits_a_character"] for h in result.history]
    assert result.metrics["bits_a_character"] == min(bits) < 0.5 * bits[0]
    likelihood = Likelihood(result.network, STANDARDIZER, tf.TensorSpec([None, *SHAPE], tf.float16), VOCABULARY, PLAIN)
    found, written = [], []
    for one in validation(examples, 12):
        counted = [likelihood.written(caption) for caption in one.captions]
        found += likelihood.log_probs(one.shown, counted).tolist()
        written += counted
    assert bits_a_character(found, written) == pytest.approx(min(bits)), "the best weights are those it returns"


@pytest.mark.once
@pytest.mark.slow
def test_n_grams_are_counted_on_train_and_trusted_as_val_says(examples, tmp_path):
    config = changed(epochs=2, stop_on="bits_a_character")
    alone = fit(examples, tmp_path / "alone", config)
    result = fit(examples, tmp_path / "both", config, NETWORK.model_copy(update={"ngram": 3}))
    for a, b in zip(alone.network.variables, result.network.network.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg="the network itself is trained as it would be alone")
    assert result.metrics["bits_a_character"] < alone.metrics["bits_a_character"]
    assert alone.metrics["bits_a_character"] == min(h["val_bits_a_character"] for h in result.history)
    tables = result.network.ngrams
    assert tf.size(tables.first) == len(VOCABULARY) and 0 < tf.reduce_mean(result.network.trust) < 1
    history = tf.constant([VOCABULARY.encode("the red")[1:3]])
    likeliest = tables(history)[0].numpy()[0].argmax()
    assert VOCABULARY.words[likeliest] in ("cat", "dog", "frog", "owl"), "behind `the red` there is an animal"


@pytest.mark.once
@pytest.mark.slow
def test_learning_rate_warms_up_and_decays(trained):
    rates = {values["step"]: values["learning_rate"] for name, values in trained[1] if name in ("step", "epoch")}
    assert max(rates.values()) <= CONFIG.learning_rate * (1 + 1e-6)
    assert rates[6] < rates[12] and rates[max(rates)] < max(rates.values())


class Stopped(Exception):
    pass


def stop_after(monkeypatch, steps: int):
    """Lets `steps` batches through, and then raises Stopped in the place of the next one."""
    batches, left = stages.batches, [steps]

    def interrupted(*args, **arguments):
        for batch in batches(*args, **arguments):
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            yield batch

    monkeypatch.setattr(stages, "batches", interrupted)


EVERYTHING = {
    "epochs": 2, "checkpoint_steps": 2, "average": 0.9, "average_last": 2, "scheduled_sampling": 0.3, "bucket": 2,
    "self_critical": SelfCriticalConfig(epochs=2, pictures=16, samples=3, temperature=1.0, baseline="greedy"),
}  # fmt: skip


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_as_one_that_was_not(examples, tmp_path, monkeypatch):
    """Dropout, averages, scheduled and self-critical samples: all of it, stopped in three places."""
    config, network = changed(**EVERYTHING), NETWORK.model_copy(update={"dropout": 0.3})
    whole = fit(examples, tmp_path / "whole", config, network)
    for steps in (3, 6, 5):  # in the first epoch, in the second, in the self-critical stage
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            with pytest.raises(Stopped):
                fit(examples, tmp_path / "stopped", config, network)
    resumed = fit(examples, tmp_path / "stopped", config, network)
    for a, b in zip(whole.network.variables, resumed.network.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.name)
    for a, b in zip(whole.history, resumed.history, strict=True):
        timeless = ("seconds", "captions_per_second")
        assert {k: v for k, v in a.items() if k not in timeless} == {k: v for k, v in b.items() if k not in timeless}
    assert [h["stage"] for h in whole.history] == ["cross_entropy"] * 2 + ["self_critical"] * 2
    # Called once more, it is done, and says the same without a step.
    again = fit(examples, tmp_path / "stopped", config, network)
    assert again.metrics == resumed.metrics


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "held_out"), [(1.0, 0.0), (0.0, 0.25)])
def test_self_critical_training_raises_the_reward(examples, tmp_path, monkeypatch, temperature, held_out):
    seen = {"cross_entropy": set(), "self_critical": set()}

    def watched(*arguments, epoch, **keywords):
        for batch in batches(*arguments, epoch=epoch, **keywords):
            seen["self_critical" if epoch >= 10_000 else "cross_entropy"] |= set(batch[2].numpy().tolist())
            yield batch

    monkeypatch.setattr(stages, "batches", watched)
    stage = {"temperature": temperature, "held_out": held_out, "epochs": 8, "patience": 8}
    stage = SelfCriticalConfig(pictures=16 if not held_out else 4, learning_rate=3e-3, **stage)
    result = fit(examples, tmp_path, changed(epochs=4, self_critical=stage))
    first, second = seen.values()
    assert first | second == set(range(48))
    assert first == second if not held_out else not first & second and abs(len(second) - 12) <= 1
    rewards = [-h["loss"] for h in result.history if h["stage"] == "self_critical"]
    assert rewards[-1] > rewards[0] + 0.1
    assert result.metrics["cider"] >= max(h["val_cider"] for h in result.history if h["stage"] == "cross_entropy")


def test_a_share_that_leaves_a_stage_nothing_is_refused(tmp_path):
    files = write(tmp_path / "t.gz", 3)
    few = examples_of(files, files)
    with pytest.raises(TrainingError, match="which leaves a stage without pictures"):
        fit(few, tmp_path / "c", changed(epochs=1, self_critical=SelfCriticalConfig(epochs=1, held_out=0.01)))


@pytest.mark.once
@pytest.mark.slow
def test_written_captions_teach_beside_the_reward(examples, tmp_path):
    """A network that has learnt nothing draws nothing worth a reward; captions people wrote lead it all the same."""
    found = []
    for written in (0.0, 1.0):
        stage = SelfCriticalConfig(epochs=8, pictures=16, learning_rate=1e-2, patience=8, written=written)
        config = changed(epochs=1, learning_rate=1e-5, self_critical=stage)
        result = fit(examples, tmp_path / str(written), config)
        found.append(max(h["val_cider"] for h in result.history))
    assert found[1] > found[0] + 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({"kind": "par_inject"}, marks=pytest.mark.once),
        pytest.param({"kind": "merge"}, marks=pytest.mark.once),
        {"kind": "transformer", "heads": 2},
        pytest.param({"attention": "dot", "heads": 2}, marks=pytest.mark.once),
    ],
)
def test_every_network_learns(examples, tmp_path, kind):
    network = NetworkConfig(embedding=16, units=24, attention_units=16, dropout=0.0, **kind)
    config = changed(epochs=20, precision="auto")  # in bfloat16 where the processor has it
    assert fit(examples, tmp_path, config, network).metrics["bleu3"] > 0.8


@pytest.mark.once
@pytest.mark.slow
def test_each_member_of_an_ensemble_learns_as_it_would_alone(examples, tmp_path):
    config = changed(max_steps=6, clip_norm=1e9)
    together = fit(examples, tmp_path / "both", config, NETWORK.model_copy(update={"members": 2})).network
    alone = fit(examples, tmp_path / "one", config, NETWORK).network
    first, second = together.members
    fresh = networks.build(NETWORK, len(VOCABULARY), SHAPE, config.seed)
    for ours, theirs, before in zip(first.variables, alone.variables, fresh.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=ours.name)
        assert np.abs(ours.numpy() - before.numpy()).max() > 1e-4, ours.name
    # The other one is another network, not a copy that goes the same way.
    assert np.abs(first.cell.recurrent.numpy() - second.cell.recurrent.numpy()).max() > 0.1


@pytest.mark.once
@pytest.mark.slow
def test_averaged_weights_are_what_is_judged_and_returned(examples, tmp_path):
    """With a decay this slow the average stays near where it began, and so does what is returned."""
    config = changed(epochs=1, average=0.5)
    averaged, plain = fit(examples, tmp_path / "a", config), fit(examples, tmp_path / "b", changed(epochs=1))
    gaps = [float(tf.reduce_max(tf.abs(a - b))) for a, b in zip(averaged.network.variables, plain.network.variables)]
    assert max(gaps) > 1e-4


def test_scheduled_sampling_feeds_the_networks_own_words(examples, tmp_path):
    config, network = changed(scheduled_sampling=0.5), networks.build(NETWORK, len(VOCABULARY), SHAPE, 0)
    training = stages._Training(examples, STANDARDIZER, VOCABULARY, config, network, None, [48], tmp_path)
    features = tf.random.stateless_normal([16, *SHAPE], [1, 1])
    tokens = tf.tile(tf.constant([[[1, 5, 6, 7, 2, 0]]]), [16, 3, 1])
    half = training._scheduled(network, features, tokens, (0, tf.constant(3)), 1.0).numpy()
    np.testing.assert_array_equal(half[..., 0], 1)
    np.testing.assert_array_equal(half[..., 5], 0)
    changed_share = (half[..., 1:5] != tokens.numpy()[..., 1:5]).mean()
    assert 0.25 < changed_share < 0.55, "half are drawn anew, and some of these come out the same"
    np.testing.assert_array_equal(training._scheduled(network, features, tokens, (0, tf.constant(3)), 0.0), tokens)


def test_a_share_of_the_pictures_is_not_shown():
    features = tf.ones([4000, 1, 2, 3])
    shown = stages.without_some(features, 0.25, (0, 1)).numpy()
    assert set(np.unique(shown)) == {0.0, 1.0} and (shown == shown[:, :1, :1, :1]).all(), "all of a picture or nothing"
    assert abs((shown[:, 0, 0, 0] == 0).mean() - 0.25) < 0.03
    assert (stages.without_some(features, 0.25, (0, 2)).numpy() != shown).any(), "others in another step"
    assert stages.without_some(features, 0.0, (0, 1)) is features


@pytest.mark.once
@pytest.mark.slow
def test_max_steps(examples, tmp_path):
    result = fit(examples, tmp_path, changed(max_steps=3))
    assert [h["step"] for h in result.history] == [3]


def test_nothing_to_train_on(tmp_path):
    files = write(tmp_path / "none.gz", 0)
    with pytest.raises(TrainingError, match="train split has no captions"):
        fit(examples_of(files, files), tmp_path)


@pytest.mark.once
@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops(examples, tmp_path):
    broken = Standardizer(np.full(6, np.nan, np.float32), np.ones(6, np.float32))
    with pytest.raises(TrainingError, match="try a smaller learning rate"):
        train(examples, broken, VOCABULARY, NETWORK, CONFIG, tmp_path)


# --- fine-tuning ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, small_encoder):
    """Pictures of twelve colours with features of the small encoder, and that encoder."""
    folder = tmp_path_factory.mktemp("drawn")

    def image(what: int) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (64, 64), (80 * (what % 4), 60 * (what // 4), 20 * what)).save(out, "PNG")
        return out.getvalue()

    shape = (8, 8, 32)
    train_files = write(folder / "train.gz", 24, shape=shape, image=image)
    val_files = write(folder / "val.gz", 12, seed=5, shape=shape, image=image)
    config = EncoderConfig(weights=str(small_encoder), precision="float32")
    return examples_of(train_files, val_files, shape), lambda: encoders.load(config)


@pytest.mark.once
@pytest.mark.slow
def test_fine_tuning_trains_the_top_alone_and_its_model_says_so(drawn, tmp_path):
    examples, load = drawn
    encoder, before = load(), load()
    layers = [layer.name for layer in encoder.model.layers]
    config = changed(
        epochs=1,
        pictures=4,
        fine_tuning=FineTuningConfig(epochs=1, behind=layers[-2], learning_rate=1e-2, pictures=4),
    )
    standardizer = Standardizer(np.zeros(32, np.float32), np.full(32, 0.1, np.float32))
    result = train(examples, standardizer, VOCABULARY, NETWORK, config, tmp_path, encoder=encoder)
    moved = [not np.array_equal(a, b) for a, b in zip(encoder.model.get_weights(), before.model.get_weights())]
    assert moved == [False] * (len(moved) - 2) + [True, True], "kernel and bias of the last layer"
    assert result.encoder.digest != before.digest and result.encoder.name.endswith("+tuned")
    assert result.metrics["stage"] == "fine_tuning"
    # Bulk encoding after it uses the weights as they are now.
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(
        result.encoder.encode(pictures).numpy(), result.encoder.features(pictures).numpy(), rtol=1e-2, atol=1e-3
    )
    assert np.abs(result.encoder.encode(pictures).numpy() - before.encode(pictures).numpy()).max() > 0
    # And a second call, on the checkpoints of the first, has the tuned encoder too.
    again = load()
    repeated = train(examples, standardizer, VOCABULARY, NETWORK, config, tmp_path, encoder=again)
    assert repeated.encoder.digest == result.encoder.digest


def test_what_cannot_be_tuned(drawn):
    _, load = drawn
    with pytest.raises(EncoderError, match="'mixed8', which is no layer of"):
        encoders.unfreeze(load(), "mixed8")


@pytest.mark.slow
def test_the_top_of_inception_is_what_lies_behind_a_block():
    import tf_keras

    model = tf_keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(75, 75, 3))
    encoder = encoders.Encoder("i", "0", model, (75, 75), (1, 1, 2048))
    top = {v.name.split("/")[0] for v in encoders.unfreeze(encoder, "mixed9")}
    convolutions = [layer.name for layer in model.layers if type(layer).__name__ == "Conv2D"]
    assert top == set(convolutions[-9:]), "the nine convolutions of the last block, no batch normalisation"


def test_rounding_passes_gradients(drawn):
    _, load = drawn
    encoder = load()
    pictures = tf.random.stateless_uniform([2, 64, 64, 3], [0, 1], -1, 1)
    np.testing.assert_array_equal(encoder.trainable_features(pictures), tf.cast(encoder.features(pictures), tf.float32))
    kernel = encoder.model.variables[0]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder.trainable_features(pictures)) * 1e-9  # would be 0 in float16
    assert float(tf.reduce_max(tf.abs(tape.gradient(loss, kernel)))) > 0
