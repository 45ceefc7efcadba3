import numpy as np
import tensorflow as tf
import tf_keras

from memefly.training import TrainingConfig
from memefly.training.optimizer import adamw


def test_steps_are_those_of_keras():
    """The same weights after a few steps, clipped and decayed, also where a gradient is sparse."""
    config = TrainingConfig(learning_rate=0.1, weight_decay=0.3, clip_norm=2.0)
    ours = adamw(config, config.learning_rate, steps=10, warmup=0.2)
    keras = tf_keras.optimizers.AdamW(ours._learning_rate, weight_decay=0.3, global_clipnorm=2.0)
    found = []
    for optimizer in (ours, keras):
        variables = [tf.Variable(tf.random.stateless_normal([4, 3], [1, i])) for i in range(2)]
        optimizer.build(variables)
        for step in range(6):
            with tf.GradientTape() as tape:
                rows = tf.gather(variables[0], [0, 2, 2])
                loss = tf.reduce_sum(rows**2) + tf.reduce_sum(tf.sin(variables[1] * (step + 1)))
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        found.append([v.numpy() for v in variables])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_rate_rises_and_falls():
    optimizer = adamw(TrainingConfig(), 0.5, steps=100, warmup=0.1)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0.005, 0.5, 0.5 * 0.505, 0.005], rtol=1e-4)
