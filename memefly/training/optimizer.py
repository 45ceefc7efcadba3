"""AdamW (Loshchilov and Hutter, arXiv 1711.05101), its rate warmed up and then falling along a cosine (1608.03983)."""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from memefly.training.config import TrainingConfig


class FusedAdamW(tf_keras.optimizers.AdamW):
    """Keras's AdamW, in TensorFlow's one kernel for Adam: Keras's own operations pass over each weight many times,
    which on a CPU is a tenth of a step. Without AMSGrad, which that kernel does not have."""

    def update_step(self, gradient, variable):
        index = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )


def adamw(config: TrainingConfig, peak: float, steps: int, warmup: float) -> FusedAdamW:
    """The rate rises to `peak` over the share `warmup` of the steps, then falls to a hundredth of it."""
    warm = round(warmup * steps)
    return FusedAdamW(
        tf_keras.optimizers.schedules.CosineDecay(
            peak * 0.01 if warm else peak,
            decay_steps=max(1, steps - warm),
            alpha=0.01,
            warmup_target=peak if warm else None,
            warmup_steps=warm,
        ),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
    )
