"""Caption networks behind one small interface; decoders, training and export know only this.

    >>> network = build(NetworkConfig(), vocabulary_size=5000, feature_shape=(8, 8, 2048), seed=0)
    >>> memory, state = network.encode(features)                   # once a picture
    >>> logits, state, alphas = network.step(memory, state, token) # once a word
    >>> logits, alphas = network.teacher_forced(features, tokens, training=True, noise=(1, 2))

`memory` is what a picture offers, and stays as it is; `state` is what changes with every word. Several captions of a
picture may be written at once over one memory: `state` is tensors, maybe nested, whose first axis is the caption,
picture-major, so a decoder may repeat and gather it without knowing what it holds.
"""

from __future__ import annotations

from collections.abc import Callable

from memefly.networks.interface import Network, NetworkConfig

__all__ = ["Network", "NetworkConfig", "build", "build_trained"]

_SEED_OF_MEMBER = 1_000_003  # far apart: ensembles of seeds 0 and 1 have no member in common


def build(config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int) -> Network:
    """A freshly initialised network; same arguments, same weights. With an n-gram model it has no counts yet."""
    from memefly.networks.interpolated import Interpolated

    network = build_trained(config, vocabulary_size, feature_shape, seed)
    return Interpolated(network, config.ngram) if config.ngram else network


def build_trained(
    config: NetworkConfig, vocabulary_size: int, feature_shape: tuple[int, int, int], seed: int
) -> Network:
    """As `build`, but only what is learnt by gradients."""
    from memefly.networks.attention import AttentionNetwork
    from memefly.networks.ensemble import Ensemble
    from memefly.networks.merge import MergeNetwork
    from memefly.networks.par_inject import ParInjectNetwork
    from memefly.networks.transformer import TransformerNetwork

    kinds: dict[str, Callable[..., Network]] = {
        "attention": AttentionNetwork, "par_inject": ParInjectNetwork, "merge": MergeNetwork,
        "transformer": TransformerNetwork,
    }  # fmt: skip
    members = [each for each in (config, *config.beside) for _ in range(each.members)]
    seeds = [seed + i * _SEED_OF_MEMBER for i in range(len(members))]
    networks = [kinds[each.kind](each, vocabulary_size, feature_shape, own) for each, own in zip(members, seeds)]
    return networks[0] if len(networks) == 1 else Ensemble(networks)
