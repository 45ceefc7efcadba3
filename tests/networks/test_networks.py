import numpy as np
import pytest
import tensorflow as tf

from memefly import networks, ngrams
from memefly.networks import NetworkConfig
from memefly.networks.ensemble import Ensemble, each
from memefly.training.losses import caption_loss, count

V, SHAPE = 30, (3, 4, 10)
TOKENS = tf.constant([[[1, 5, 6, 2, 0], [1, 7, 2, 0, 0]], [[1, 8, 9, 10, 2], [1, 5, 5, 2, 0]]])  # (P, C, T)


NETWORKS = {
    "additive": {},
    "additive lstm": {"cell": "lstm"},
    "dot": {"attention": "dot", "heads": 3, "tie_weights": True},
    "par_inject": {"kind": "par_inject"},
    "par_inject lstm": {"kind": "par_inject", "cell": "lstm"},
    "merge": {"kind": "merge", "tie_weights": True},
    "transformer": {"kind": "transformer", "heads": 2, "layers": 2},
    "ensemble": {"members": 2, "cell": "lstm"},
    "with n-grams": {"ngram": 3},
    "of two kinds": {"members": 2, "beside": [{"kind": "transformer", "layers": 2, "heads": 2, "attention_units": 6}]},
    "ensemble of transformers": {"kind": "transformer", "members": 2, "layers": 1, "tie_weights": True},
}
every = pytest.mark.parametrize("kind", NETWORKS)


def network(kind="additive") -> networks.Network:
    sizes = {"embedding": 8, "units": 12, "attention_units": 6, "dropout": 0.4, "tie_weights": False}
    config = NetworkConfig(**{**sizes, **NETWORKS[kind]})
    net = networks.build(config, V, SHAPE, seed=3)
    if config.ngram:
        net.ngrams.fill(ngrams.count(TOKENS.numpy().reshape(4, 5), V, config.ngram))
        net.trust.assign(tf.linspace(0.2, 0.9, net.ngrams.kinds))
    return net


def loss_of(logits, alphas, tokens):
    return caption_loss(logits, alphas, tokens, count(tokens), label_smoothing=0.1, attention_penalty=0.5)


@pytest.fixture
def features() -> tf.Tensor:
    return tf.random.stateless_normal([2, *SHAPE], [0, 1])


@every
def test_step_by_step_equals_teacher_forced(kind, features):
    net = network(kind)
    logits, alphas = net.teacher_forced(features, TOKENS)
    assert logits.shape == (12, V) and alphas.shape == (4, 4, 12)
    memory, state = net.encode(features)
    state = tf.nest.map_structure(lambda s: tf.repeat(s, 2, axis=0), state)
    flat, steps, looked = tf.reshape(TOKENS, [4, 5]), [], []
    for t in range(4):
        step, state, alpha = net.step(memory, state, flat[:, t])
        steps.append(step)
        looked.append(alpha)
    real = flat[:, 1:] != 0
    np.testing.assert_allclose(logits, tf.boolean_mask(tf.stack(steps, axis=1), real), atol=1e-5)
    looked = tf.where(real[..., tf.newaxis], tf.stack(looked, axis=1), 0.0)
    np.testing.assert_allclose(alphas, looked, atol=1e-6)


@every
def test_padding_changes_no_loss_and_no_gradient(kind, features):
    net = network(kind)

    def loss_and_gradients(tokens):
        with tf.GradientTape() as tape:
            logits, alphas = net.teacher_forced(features, tokens)
            loss, _ = loss_of(logits, alphas, tokens)
        return loss, tape.gradient(loss, net.trainable_variables)

    loss, gradients = loss_and_gradients(TOKENS)
    wider = tf.pad(TOKENS, [[0, 0], [0, 2], [0, 3]])  # two captions a picture that are not there, three tokens
    padded_loss, padded_gradients = loss_and_gradients(wider)
    np.testing.assert_allclose(loss, padded_loss, rtol=1e-5)
    for variable, a, b in zip(net.trainable_variables, gradients, padded_gradients):
        np.testing.assert_allclose(
            tf.convert_to_tensor(a), tf.convert_to_tensor(b), rtol=1e-3, atol=1e-6, err_msg=variable.name
        )


@pytest.mark.once
@pytest.mark.slow
@every
def test_gradients_are_those_of_the_steps_one_by_one(kind, features):
    """`Late` takes weights' gradients behind the loop; here they are taken step by step, without it."""
    net = network(kind)

    def unrolled():
        memory, state = net.encode(features)
        state = tf.nest.map_structure(lambda s: tf.repeat(s, 2, axis=0), state)
        flat, steps = tf.reshape(TOKENS, [4, 5]), []
        for t in range(4):
            logits, state, _ = net.step(memory, state, flat[:, t])
            steps.append(logits)
        return tf.boolean_mask(tf.stack(steps, axis=1), flat[:, 1:] != 0)

    def gradients(logits_of):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(logits_of()))
        return tape.gradient(loss, net.trainable_variables)

    vectorised = tf.function(lambda: gradients(lambda: net.teacher_forced(features, TOKENS)[0]), autograph=False)
    for variable, a, b in zip(net.trainable_variables, vectorised(), gradients(unrolled)):
        np.testing.assert_allclose(
            tf.convert_to_tensor(a), tf.convert_to_tensor(b), rtol=1e-3, atol=1e-5, err_msg=variable.name
        )


def test_loss_is_cross_entropy_by_hand(features):
    net = network()
    logits, alphas = net.teacher_forced(features, TOKENS)
    loss, cross_entropy = loss_of(logits, alphas, TOKENS)
    flat = TOKENS.numpy().reshape(4, 5)
    targets = [t for row in flat for t in row[1:] if t]
    p = tf.nn.log_softmax(logits).numpy()
    smooth = np.full((len(targets), V), 0.1 / V)
    smooth[np.arange(len(targets)), targets] += 0.9
    assert float(cross_entropy) == pytest.approx(-(smooth * p).sum(axis=1).mean(), rel=1e-5)
    seen = [alphas.numpy()[i, : np.count_nonzero(row) - 1].sum(axis=0) for i, row in enumerate(flat)]
    penalty = np.mean([(1 - s) ** 2 for s in seen])
    assert float(loss - cross_entropy) == pytest.approx(0.5 * penalty, rel=1e-4)


@every
def test_attention_weights_are_a_distribution(kind, features):
    _, alphas = network(kind).teacher_forced(features, TOKENS)
    real = tf.reshape(TOKENS, [4, 5])[:, 1:] != 0
    np.testing.assert_allclose(tf.reduce_sum(alphas, axis=-1), tf.cast(real, tf.float32), atol=1e-5)


@every
def test_same_seed_same_weights(kind):
    for a, b in zip(network(kind).variables, network(kind).variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_follows_the_noise_it_is_given(features):
    net = network()

    def run(noise):
        return net.teacher_forced(features, TOKENS, training=True, noise=noise)[0].numpy()

    np.testing.assert_array_equal(run((1, 2)), run((1, 2)))
    assert np.abs(run((1, 2)) - run((1, 3))).max() > 1e-3
    assert np.abs(run((1, 2)) - net.teacher_forced(features, TOKENS)[0].numpy()).max() > 1e-3


@every
def test_every_weight_learns(kind, features):
    net = network(kind)
    with tf.GradientTape() as tape:
        logits, alphas = net.teacher_forced(features, TOKENS)
        loss, _ = loss_of(logits, alphas, TOKENS)
    for variable, gradient in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables)):
        assert gradient is not None, variable.name
        assert float(tf.reduce_max(tf.abs(tf.convert_to_tensor(gradient)))) > 0, variable.name


def test_sizes_are_validated():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        NetworkConfig(units=0)
    with pytest.raises(ValueError, match="extra"):
        NetworkConfig(unit=5)
    with pytest.raises(ValueError, match="set network"):
        NetworkConfig(heads=2)
    with pytest.raises(ValueError, match="5 heads do not divide"):
        NetworkConfig(attention="dot", heads=5)


def test_what_is_fed_is_read_and_what_is_predicted_stays(features):
    net, fed = network(), tf.where(TOKENS == 5, 9, TOKENS)
    logits, _ = net.teacher_forced(features, TOKENS, fed=fed)
    as_if, _ = net.teacher_forced(features, fed)
    np.testing.assert_allclose(logits, as_if, atol=1e-6)
    assert np.abs(logits - net.teacher_forced(features, TOKENS)[0]).max() > 1e-3
    # A fed word that would be padding hides nothing of what is predicted.
    assert net.teacher_forced(features, TOKENS, fed=tf.zeros_like(TOKENS))[0].shape == logits.shape


@pytest.mark.parametrize("forced", [True, False])
def test_an_ensemble_says_the_mean_of_what_its_members_say(features, forced):
    net = network("ensemble")

    def told(net):
        if forced:
            return net.teacher_forced(features, TOKENS)
        memory, state = net.encode(features)
        _, state, _ = net.step(memory, state, tf.constant([1, 1]))
        logits, _, alphas = net.step(memory, state, tf.constant([5, 6]))
        return logits, alphas

    (logits, alphas), one, two = (told(n) for n in (net, *net.members))
    probabilities = [tf.nn.softmax(logits).numpy() for logits, _ in (one, two)]
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-3
    np.testing.assert_allclose(tf.exp(logits), np.mean(probabilities, axis=0), atol=1e-6)
    np.testing.assert_allclose(alphas, (one[1] + two[1]) / 2, atol=1e-6)


def test_networks_of_other_kinds_are_members_too(features):
    """Attention, attention and a transformer: each as it is alone, and no two of the same weights."""
    members = network("of two kinds").members
    assert [type(member).__name__ for member in members] == ["AttentionNetwork"] * 2 + ["TransformerNetwork"]
    alone = network("additive")
    for a, b in zip(members[0].variables, alone.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(members[0].words.embedding.numpy() - members[1].words.embedding.numpy()).max() > 1e-3
    told = [member.teacher_forced(features, TOKENS)[0] for member in members]
    together, _ = Ensemble(members).teacher_forced(features, TOKENS)
    np.testing.assert_allclose(tf.exp(together), np.mean([tf.nn.softmax(one) for one in told], axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ([{"ngram": 3}], r"beside\[0\] sets ngram, .* set network\.ngram"),
        ([{}, {"beside": [{}]}], r"beside\[1\] sets beside, .* set network\.beside"),
        ([{"members": 8}, {"members": 8}], "there are 17 members, beside counted; at most 16"),
    ],
)
def test_what_stands_beside_is_plain(beside, said):
    with pytest.raises(ValueError, match=said):
        NetworkConfig(beside=beside)


def test_dropout_of_members_differs(features):
    """The same weights twice: with the same noise, the mean would be what each says."""
    first, second = network("ensemble").members
    for a, b in zip(first.variables, second.variables, strict=True):
        b.assign(a)
    noises = [noise for _, noise in each(Ensemble([first, second]), (1, 2))]
    one, two = (first.teacher_forced(features, TOKENS, training=True, noise=noise)[0] for noise in noises)
    assert np.abs(one - two).max() > 1e-3
    assert each(first, (1, 2)) == [(first, (1, 2))]
