import numpy as np
import pytest
import tensorflow as tf

from memefly.training import averaging
from memefly.training.averaging import MovingAverage
from memefly.training.losses import caption_loss, count, reward_loss

TOKENS = tf.constant([[[1, 5, 2, 0], [1, 4, 6, 2]], [[1, 2, 0, 0], [0, 0, 0, 0]]])  # (P, C, T): 3 captions, 6 tokens


def test_counts_are_of_what_is_there():
    assert [float(n) for n in count(TOKENS)] == [6.0, 3.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_caption_loss_and_its_gradient_are_keras(smoothing):
    logits = 30 * tf.random.stateless_normal([6, 7], [1, 2])  # far apart: exp of them as they are would overflow
    targets = tf.one_hot([5, 2, 4, 6, 2, 2], 7)

    def ours(logits):
        return caption_loss(logits, tf.zeros([4, 3, 1]), TOKENS, count(TOKENS), label_smoothing=smoothing)[0]

    def keras(logits):
        losses = tf.keras.losses.categorical_crossentropy(targets, logits, from_logits=True, label_smoothing=smoothing)
        return tf.reduce_mean(losses)

    (value, gradient), (expected, expected_gradient) = (_with_gradient(f, logits) for f in (ours, keras))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


def _with_gradient(f, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    return value, tape.gradient(value, x)


def test_reward_loss_by_hand():
    logits = tf.random.stateless_normal([6, 7], [1, 2])
    advantages = tf.constant([[2.0, -1.0], [0.5, 100.0]])  # the last caption is not there
    log_probs = tf.nn.log_softmax(logits).numpy()
    targets, weights = [5, 2, 4, 6, 2, 2], [2, 2, -1, -1, -1, 0.5]
    expected = -sum(w * log_probs[i, t] for i, (t, w) in enumerate(zip(targets, weights))) / 6
    loss, gradient = _with_gradient(lambda x: reward_loss(x, TOKENS, advantages, count(TOKENS)), logits)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    by_hand = np.array(weights)[:, np.newaxis] * (np.exp(log_probs) - np.eye(7)[targets]) / 6
    np.testing.assert_allclose(gradient, by_hand, atol=1e-6)


def test_moving_average():
    variable = tf.Variable([0.0, 4.0])
    average = MovingAverage([variable], decay=0.5)
    variable.assign([1.0, 1.0])
    average.update()  # decay of the first step: 1 / 10
    average.update()  # of the second: 2 / 11
    first = 0.1 * np.array([0.0, 4.0]) + 0.9
    np.testing.assert_allclose(average.averages[0], 2 / 11 * first + 9 / 11, rtol=1e-6)
    with average.applied():
        np.testing.assert_allclose(variable, average.averages[0])
    np.testing.assert_array_equal(variable, [1.0, 1.0])


def test_no_moving_average_is_the_weights_themselves():
    variable = tf.Variable([1.0])
    average = MovingAverage([variable], decay=0.0)
    average.update()
    with average.applied():
        np.testing.assert_array_equal(variable, [1.0])


def test_mean_of_snapshots():
    one, two = [np.float32([1, 2]), np.float32(3)], [np.float32([3, 4]), np.float32(5)]
    np.testing.assert_array_equal(averaging.mean([one, two])[0], [2, 3])
    assert averaging.mean([one, two])[1] == 4
