import numpy as np
import pytest
import tensorflow as tf

from memefly import networks
from memefly.networks import NetworkConfig
from memefly.training import TrainingConfig, caption_loss

V, SHAPE = 30, (3, 4, 10)
TOKENS = tf.constant([[[1, 5, 6, 2, 0], [1, 7, 2, 0, 0]], [[1, 8, 9, 10, 2], [1, 5, 5, 2, 0]]])  # (P, C, T)


def network(cell="gru", **overrides) -> networks.Network:
    config = NetworkConfig(cell=cell, embedding=8, units=12, attention_units=6, dropout=0.4, **overrides)
    return networks.build(config, V, SHAPE, seed=3)


@pytest.fixture
def features() -> tf.Tensor:
    return tf.random.stateless_normal([2, *SHAPE], [0, 1])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_step_by_step_equals_teacher_forced(cell, features):
    net = network(cell)
    logits, alphas = net.teacher_forced(features, TOKENS)
    assert logits.shape == (12, V) and alphas.shape == (4, 4, 12)
    memory, state = net.encode(features)
    state = tuple(tf.repeat(s, 2, axis=0) for s in state)
    flat, steps, looked = tf.reshape(TOKENS, [4, 5]), [], []
    for t in range(4):
        step, state, alpha = net.step(memory, state, flat[:, t])
        steps.append(step)
        looked.append(alpha)
    expected = tf.boolean_mask(tf.stack(steps, axis=1), flat[:, 1:] != 0)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(alphas, tf.stack(looked, axis=1), atol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_padding_changes_no_loss_and_no_gradient(cell, features):
    net, config = network(cell), TrainingConfig()

    def loss_of(tokens):
        with tf.GradientTape() as tape:
            logits, alphas = net.teacher_forced(features, tokens)
            loss, _ = caption_loss(logits, alphas, tokens, config)
        return loss, tape.gradient(loss, net.trainable_variables)

    loss, gradients = loss_of(TOKENS)
    wider = tf.pad(TOKENS, [[0, 0], [0, 2], [0, 3]])  # two captions a picture that are not there, three tokens
    padded_loss, padded_gradients = loss_of(wider)
    np.testing.assert_allclose(loss, padded_loss, rtol=1e-5)
    for variable, a, b in zip(net.trainable_variables, gradients, padded_gradients):
        np.testing.assert_allclose(
            tf.convert_to_tensor(a), tf.convert_to_tensor(b), rtol=1e-3, atol=1e-6, err_msg=variable.name
        )


def test_loss_is_cross_entropy_by_hand(features):
    net = network()
    logits, alphas = net.teacher_forced(features, TOKENS)
    config = TrainingConfig(label_smoothing=0.1, attention_penalty=0.5)
    loss, cross_entropy = caption_loss(logits, alphas, TOKENS, config)
    flat = TOKENS.numpy().reshape(4, 5)
    targets = [t for row in flat for t in row[1:] if t]
    p = tf.nn.log_softmax(logits).numpy()
    smooth = np.full((len(targets), V), 0.1 / V)
    smooth[np.arange(len(targets)), targets] += 0.9
    assert float(cross_entropy) == pytest.approx(-(smooth * p).sum(axis=1).mean(), rel=1e-5)
    seen = [alphas.numpy()[i, : np.count_nonzero(row) - 1].sum(axis=0) for i, row in enumerate(flat)]
    penalty = np.mean([(1 - s) ** 2 for s in seen])
    assert float(loss - cross_entropy) == pytest.approx(0.5 * penalty, rel=1e-4)


def test_attention_weights_are_a_distribution(features):
    _, alphas = network().teacher_forced(features, TOKENS)
    np.testing.assert_allclose(tf.reduce_sum(alphas, axis=-1), np.ones((4, 4)), atol=1e-5)


def test_same_seed_same_weights():
    for a, b in zip(network().variables, network().variables):
        np.testing.assert_array_equal(a, b)


def test_dropout_follows_the_noise_it_is_given(features):
    net = network()

    def run(noise):
        return net.teacher_forced(features, TOKENS, training=True, noise=noise)[0].numpy()

    np.testing.assert_array_equal(run((1, 2)), run((1, 2)))
    assert np.abs(run((1, 2)) - run((1, 3))).max() > 1e-3
    assert np.abs(run((1, 2)) - net.teacher_forced(features, TOKENS)[0].numpy()).max() > 1e-3


def test_every_weight_learns(features):
    net = network("lstm")
    with tf.GradientTape() as tape:
        logits, alphas = net.teacher_forced(features, TOKENS)
        loss, _ = caption_loss(logits, alphas, TOKENS, TrainingConfig())
    for variable, gradient in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables)):
        assert gradient is not None, variable.name
        assert float(tf.reduce_max(tf.abs(tf.convert_to_tensor(gradient)))) > 0, variable.name


def test_sizes_are_validated():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        NetworkConfig(units=0)
    with pytest.raises(ValueError, match="extra"):
        NetworkConfig(unit=5)
