import numpy as np
import pytest
import tensorflow as tf

from memefly import networks, ngrams
from memefly.networks import NetworkConfig
from memefly.networks.interpolated import Interpolated, NgramTables
from memefly.text import START_ID
from tests.test_ngrams import V, captions, probabilities

SHAPE = (2, 2, 3)
CONFIG = NetworkConfig(embedding=8, units=8, attention_units=4, ngram=4)


@pytest.fixture(scope="module")
def counted():
    return ngrams.count(captions(150), V, 4)


@pytest.fixture(scope="module")
def whole(counted):
    network = networks.build(CONFIG, V, SHAPE, seed=0)
    network.ngrams.fill(counted)
    return network


def test_the_graph_reads_the_tables(counted):
    """Histories that were seen, some that were seen in part, and some that were not, as counted; the kind of each."""
    tables = NgramTables(4)
    tables.fill(counted)
    rng = np.random.default_rng(3)
    seen = [([START_ID] * 2 + caption)[place : place + 3] for caption in captions(150) for place in range(3)]
    histories = np.array(seen + rng.integers(1, V, [60, 3]).tolist(), np.int32)
    found, kinds = tf.function(tables, autograph=False)(histories)
    np.testing.assert_allclose(found, [probabilities(counted, list(h)) for h in histories], atol=1e-6)
    longest = [max([k + 1 for k, key in enumerate(ngrams.hashes(h)) if key in counted.keys] or [0]) for h in histories]
    assert (kinds.numpy() // 8).tolist() == longest and set(longest) == {0, 1, 2, 3}
    assert tables(tf.constant([[5, 5, 11]]))[1].numpy()[0] < tables.kinds


def test_words_are_chosen_together(whole, counted):
    tokens = tf.constant([[[1, 5, 7, 9, 2, 0]]])
    features = tf.random.stateless_normal([1, *SHAPE], [0, 1])
    alone = tf.nn.softmax(whole.network.teacher_forced(features, tokens)[0]).numpy()
    try:
        for trust in (1.0, 0.0, 0.3):
            whole.trust.assign(tf.fill([whole.ngrams.kinds], trust))
            found = np.exp(whole.teacher_forced(features, tokens)[0].numpy())
            for t, own in enumerate(found):
                history = ([1, 1, 1, 5, 7, 9])[t : t + 3]
                np.testing.assert_allclose(
                    own, trust * alone[t] + (1 - trust) * probabilities(counted, history), atol=1e-6
                )
    finally:
        whole.trust.assign(tf.ones([whole.ngrams.kinds]))


def test_what_is_left_to_the_network_is_its_own_to_choose(whole, counted):
    """And what counting knows of the other words is shared out of the rest."""
    tokens = tf.constant([[[1, 5, 7, 9, 2, 0]]])
    features = tf.random.stateless_normal([1, *SHAPE], [0, 1])
    alone = tf.nn.softmax(whole.network.teacher_forced(features, tokens)[0]).numpy()
    left, others = [2, 7], [i for i in range(V) if i not in (2, 7)]
    try:
        whole.leave(left)
        whole.trust.assign(tf.fill([whole.ngrams.kinds], 0.3))
        for t, own in enumerate(np.exp(whole.teacher_forced(features, tokens)[0].numpy())):
            known = probabilities(counted, ([1, 1, 1, 5, 7, 9])[t : t + 3])
            np.testing.assert_allclose(own[left], alone[t][left], atol=1e-6)
            shares = known[others] / known[others].sum() * alone[t][others].sum()
            np.testing.assert_allclose(own[others], 0.3 * alone[t][others] + 0.7 * shares, atol=1e-6)
            assert own.sum() == pytest.approx(1, abs=1e-5)
    finally:
        whole.leave([])
        whole.trust.assign(tf.ones([whole.ngrams.kinds]))


def test_it_is_trusted_as_far_as_it_foresees_more():
    """Where words are drawn from a mixture, its share is found; a kind seldom seen is as all are."""
    rng = np.random.default_rng(0)
    first, second = rng.dirichlet([0.5] * 20), rng.dirichlet([0.5] * 20)
    net = Interpolated(networks.build_trained(CONFIG, V, SHAPE, seed=0), 4)
    kinds = np.repeat([3, 9], 20_000)
    shares = np.where(kinds == 3, 0.8, 0.25)
    words = np.where(rng.random(40_000) < shares, rng.choice(20, 40_000, p=first), rng.choice(20, 40_000, p=second))
    kinds[-1] = 12
    net.fit(first[words], second[words], kinds)
    trust = net.trust.numpy()
    assert trust[3] == pytest.approx(0.8, abs=0.03) and trust[9] == pytest.approx(0.25, abs=0.03)
    everywhere = trust[0]
    assert 0.4 < everywhere < 0.65, "one that was never seen"
    assert abs(trust[12] - everywhere) < 0.05, "one that was seen once"


def test_it_learns_by_counting_alone(whole):
    learnt = {id(v) for v in whole.trainable_variables}
    assert learnt == {id(v) for v in whole.network.trainable_variables}


def test_what_is_refused(counted):
    with pytest.raises(ValueError, match="n-grams of 3 tokens, got some of 4"):
        NgramTables(3).fill(counted)
    with pytest.raises(ValueError, match="ngram is 1, which sees no word before"):
        NetworkConfig(ngram=1)
