import itertools

import numpy as np
import pytest
import tensorflow as tf

from memefly import networks
from memefly.decoding import DecodingConfig, beam_search, greedy_search
from memefly.networks import NetworkConfig
from memefly.text import END_ID, PAD_ID, START_ID, UNKNOWN_ID

SHAPE = (2, 2, 5)


def network(vocabulary: int = 7, seed: int = 0, sharpness: float = 4.0) -> networks.Network:
    """A random network, its logits spread wide enough for searches to differ."""
    net = networks.build(NetworkConfig(embedding=6, units=8, attention_units=4, cell="lstm"), vocabulary, SHAPE, seed)
    net.output_kernel.assign(net.output_kernel * sharpness)
    return net


def features(pictures: int = 5) -> tf.Tensor:
    return 2 * tf.random.stateless_normal([pictures, *SHAPE], [7, 7])


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(seed):
    net = network(20, seed)
    decoded = beam_search(net, features(), DecodingConfig(beam=1, max_length=9))
    np.testing.assert_array_equal(decoded.tokens[:, 0], greedy_search(net, features(), 9))


def brute_force(net, picture: tf.Tensor, max_length: int, penalty: float) -> list[tuple[float, tuple[int, ...]]]:
    """Every caption of at most `max_length` tokens with its score, best first."""
    allowed = [i for i in range(net.vocabulary_size) if i not in (PAD_ID, START_ID, UNKNOWN_ID)]
    words = [i for i in allowed if i != END_ID]
    captions = [(*body, END_ID) for n in range(max_length) for body in itertools.product(words, repeat=n)] + list(
        itertools.product(words, repeat=max_length)
    )
    memory, state = net.encode(picture)
    state = tuple(tf.repeat(s, len(captions), axis=0) for s in state)
    padded = np.zeros((len(captions), max_length), np.int32)
    for row, caption in zip(padded, captions):
        row[: len(caption)] = caption
    last, total = tf.fill([len(captions)], START_ID), np.zeros(len(captions))
    for t in range(max_length):
        logits, state, _ = net.step(memory, state, last)
        log_probs = tf.nn.log_softmax(logits).numpy()
        total += np.where(padded[:, t] > 0, log_probs[np.arange(len(captions)), padded[:, t]], 0)
        last = tf.constant(padded[:, t])
    lengths = np.array([len(c) for c in captions])
    return sorted(zip(total / lengths**penalty, captions), reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_never_prunes_is_brute_force(seed, penalty):
    net, max_length, K = network(7, seed), 3, 64  # 3 words and </s>: fewer than 64 captions
    decoded = beam_search(net, features(2), DecodingConfig(beam=K, max_length=max_length, length_penalty=penalty))
    for i in range(2):
        expected = brute_force(net, features(2)[i : i + 1], max_length, penalty)
        scores = decoded.scores[i].numpy()
        np.testing.assert_allclose(scores[: len(expected)], [s for s, _ in expected], rtol=1e-4)
        assert np.all(scores[len(expected) :] < -1e6)  # places in the beam that no caption could fill
        best = tuple(int(t) for t in decoded.tokens[i, 0] if t != PAD_ID)
        assert best == expected[0][1]


def test_a_wider_beam_finds_no_worse():
    net = network(20, seed=5)
    best = [
        beam_search(net, features(), DecodingConfig(beam=k, max_length=8, length_penalty=0.0)).scores[:, 0].numpy()
        for k in (1, 8)
    ]
    assert np.all(best[1] >= best[0] - 1e-5)


def test_what_is_never_said():
    net = network(20)
    bias = np.zeros(20, np.float32)
    bias[[PAD_ID, START_ID, UNKNOWN_ID]] = 50.0
    net.output_bias.assign(bias)
    tokens = beam_search(net, features(), DecodingConfig(beam=3, max_length=6)).tokens.numpy()
    ended = np.cumsum(tokens == END_ID, axis=-1) - (tokens == END_ID) > 0
    assert not np.isin(tokens[~ended], [PAD_ID, START_ID, UNKNOWN_ID]).any()
    assert np.all(tokens[ended] == PAD_ID)
    assert not np.isin(greedy_search(net, features(), 6).numpy(), [START_ID, UNKNOWN_ID]).any()


def test_attention_follows_its_beam():
    net = network(20, seed=2)
    decoded = beam_search(net, features(3), DecodingConfig(beam=4, max_length=6))
    tokens = decoded.tokens.numpy()
    np.testing.assert_allclose(decoded.alphas.numpy().sum(axis=-1), tokens != PAD_ID, atol=1e-5)
    # Replaying the words of a hypothesis looks where its search said it looked.
    replay = np.concatenate([np.full((3, 4, 1), START_ID), tokens], axis=2)
    _, alphas = net.teacher_forced(features(3), tf.constant(replay.astype(np.int32)))
    alphas = alphas.numpy().reshape(3, 4, 6, -1) * (tokens != PAD_ID)[..., None]
    np.testing.assert_allclose(decoded.alphas.numpy(), alphas, atol=1e-5)


def test_a_picture_gets_the_same_caption_alone_and_in_a_batch():
    net, config = network(20, seed=1), DecodingConfig(beam=3, max_length=8)
    together = beam_search(net, features(), config)
    for i in range(5):
        alone = beam_search(net, features()[i : i + 1], config)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])


def test_in_a_graph_with_a_free_batch():
    net, config = network(20), DecodingConfig(beam=3, max_length=8)
    search = tf.function(
        lambda f: beam_search(net, f, config), input_signature=[tf.TensorSpec([None, *SHAPE], tf.float32)]
    )
    np.testing.assert_array_equal(search(features()).tokens, beam_search(net, features(), config).tokens)
    assert search(features(0)).tokens.shape == (0, 3, 8)
