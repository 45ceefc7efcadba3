"""Several networks that choose every word together: the mean of what they give it (Hansen and Salamon, PAMI 1990; for
captions Vinyals et al., arXiv 1609.06647, sec. 4.3.3).

    >>> network = build(NetworkConfig(members=3), vocabulary_size=5000, feature_shape=(8, 8, 2048), seed=0)
    >>> both = NetworkConfig(members=2, beside=[{"kind": "transformer", "heads": 4, "members": 2}])

Members of one kind and size differ by their first weights and their dropout; `beside` names others. Each is trained by
itself, on the same batches; validation, decoding and all that follows see one network. A word costs as many times more
as there are members, a picture's features cost what they did.

Shapes: B captions, R real tokens, T tokens, V words, L positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from memefly.networks.interface import Network

_LEAST = 1e-30  # a probability, so that no word's logarithm is infinite


class Ensemble(tf.Module):
    """A network of networks. Its logits are log-probabilities; its alphas are the mean of the members'."""

    def __init__(self, members: Sequence[Network]):
        super().__init__(name="ensemble")
        self.members = list(members)
        first = self.members[0]
        self.vocabulary_size, self.positions = first.vocabulary_size, first.positions
        self.attends = any(member.attends for member in self.members)
        self.normalized = True

    def encode(self, features):
        encoded = [member.encode(features) for member in self.members]
        return tuple(memory for memory, _ in encoded), tuple(state for _, state in encoded)

    def step(self, memory, state, token):
        told = [member.step(*one, token) for member, *one in zip(self.members, memory, state)]
        logits, states, alphas = zip(*told)
        return _mean_probability(logits), tuple(states), _mean(alphas)

    def teacher_forced(self, features, tokens, *, fed=None, training=False, noise=None):
        told = [
            member.teacher_forced(features, tokens, fed=fed, training=training, noise=own)
            for member, own in each(self, noise)
        ]
        logits, alphas = zip(*told)
        return _mean_probability(logits), _mean(alphas)


def each(network: Network, noise) -> list[tuple[Network, tf.Tensor]]:
    """What is trained by itself, with noise of its own: the members of an ensemble, or the network itself, to which
    `noise` comes as it is."""
    if not isinstance(network, Ensemble):
        return [(network, noise)]
    if noise is None:
        return [(member, None) for member in network.members]
    pair = tf.cast(tf.stack(noise), tf.int32)
    folds = (tf.random.experimental.stateless_fold_in(pair, 10_000 + i) for i in range(len(network.members)))
    return list(zip(network.members, folds))


def _mean_probability(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Logits (…, V) of each member to the logarithm of their mean probability."""
    return tf.math.log(_mean([tf.nn.softmax(one) for one in logits]) + _LEAST)


def _mean(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(list(tensors)) / len(tensors)
