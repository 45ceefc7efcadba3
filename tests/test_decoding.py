import itertools

import numpy as np
import pytest
import tensorflow as tf

from memefly import networks
from memefly.decoding import _inverted, decode
from memefly.decoding_config import DecodingConfig
from memefly.networks import NetworkConfig
from memefly.rules import dangling_ids
from memefly.safety.constraint import constrain
from memefly.safety.words import WordLists
from memefly.spelling import BREAK, spell
from memefly.text import END_ID, PAD_ID, RESERVED_TOKENS, START_ID, UNKNOWN_ID, Vocabulary

SHAPE = (2, 2, 5)
# Plain search: none of the rules that keep captions from being silly.
PLAIN = {"min_length": 0, "block_ngram": 0}


def network(vocabulary: int = 7, seed: int = 0, sharpness: float = 4.0) -> networks.Network:
    """A random network, its logits spread wide enough for searches to differ."""
    net = networks.build(
        NetworkConfig(embedding=6, units=8, attention_units=4, cell="lstm", tie_weights=False), vocabulary, SHAPE, seed
    )
    net.words.kernel.assign(net.words.kernel * sharpness)
    return net


def features(pictures: int = 5) -> tf.Tensor:
    return 2 * tf.random.stateless_normal([pictures, *SHAPE], [7, 7])


def greedy(net, pictures: tf.Tensor, max_length: int) -> np.ndarray:
    """The likeliest word at every step, one picture after another, without the graph."""
    rows = []
    for picture in pictures:
        memory, state = net.encode(picture[tf.newaxis])
        row, last = [], START_ID
        while last != END_ID and len(row) < max_length:
            logits, state, _ = net.step(memory, state, tf.constant([last]))
            logits = logits.numpy()[0]
            logits[[PAD_ID, START_ID, UNKNOWN_ID]] = -np.inf
            last = END_ID if len(row) == max_length - 1 else int(logits.argmax())
            row.append(last)
        rows.append(row + [PAD_ID] * (max_length - len(row)))
    return np.array(rows)


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(seed):
    net = network(20, seed)
    decoded = decode(net, features(), DecodingConfig(beam=1, max_length=9, **PLAIN))
    np.testing.assert_array_equal(decoded.tokens[:, 0], greedy(net, features(), 9))


def brute_force(net, picture: tf.Tensor, max_length: int, penalty: float) -> list[tuple[float, tuple[int, ...]]]:
    """Every caption of at most `max_length` tokens with its score, best first."""
    allowed = [i for i in range(net.vocabulary_size) if i not in (PAD_ID, START_ID, UNKNOWN_ID)]
    words = [i for i in allowed if i != END_ID]
    captions = [(*body, END_ID) for n in range(max_length) for body in itertools.product(words, repeat=n)]
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
    net, max_length, K = network(7, seed), 4, 64  # 3 words and </s>: 40 captions
    decoded = decode(net, features(2), DecodingConfig(beam=K, max_length=max_length, length_penalty=penalty, **PLAIN))
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
        decode(net, features(), DecodingConfig(beam=k, max_length=8, length_penalty=0.0, **PLAIN)).scores[:, 0].numpy()
        for k in (1, 8)
    ]
    assert np.all(best[1] >= best[0] - 1e-5)


def test_what_is_never_said():
    net = network(20)
    bias = np.zeros(20, np.float32)
    bias[[PAD_ID, START_ID, UNKNOWN_ID]] = 50.0
    net.words.bias.assign(bias)
    tokens = decode(net, features(), DecodingConfig(beam=3, max_length=6, **PLAIN)).tokens.numpy()
    ended = np.cumsum(tokens == END_ID, axis=-1) - (tokens == END_ID) > 0
    assert not np.isin(tokens[~ended], [PAD_ID, START_ID, UNKNOWN_ID]).any()
    assert np.all(tokens[ended] == PAD_ID)


def test_attention_follows_its_beam():
    net = network(20, seed=2)
    decoded = decode(net, features(3), DecodingConfig(beam=4, max_length=6, **PLAIN), with_alphas=True)
    tokens = decoded.tokens.numpy()
    np.testing.assert_allclose(decoded.alphas.numpy().sum(axis=-1), tokens != PAD_ID, atol=1e-5)
    # Replaying the words of a hypothesis looks where its search said it looked.
    replay = np.concatenate([np.full((3, 4, 1), START_ID), tokens], axis=2)
    _, alphas = net.teacher_forced(features(3), tf.constant(replay.astype(np.int32)))
    alphas = alphas.numpy().reshape(3, 4, 6, -1) * (tokens != PAD_ID)[..., None]
    np.testing.assert_allclose(decoded.alphas.numpy(), alphas, atol=1e-5)


@pytest.mark.slow
def test_a_picture_gets_the_same_caption_alone_and_in_a_batch():
    net, config = network(20, seed=1), DecodingConfig(beam=3, max_length=8, **PLAIN)
    together = decode(net, features(), config)
    for i in range(5):
        alone = decode(net, features()[i : i + 1], config)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])


@pytest.mark.slow
def test_in_a_graph_with_a_free_batch():
    net, config = network(20), DecodingConfig(beam=3, max_length=8, **PLAIN)
    search = tf.function(
        lambda f: decode(net, f, config)[:2],
        input_signature=[tf.TensorSpec([None, *SHAPE], tf.float32)],
        autograph=False,
    )
    np.testing.assert_array_equal(search(features())[0], decode(net, features(), config).tokens)
    assert search(features(0))[0].shape == (0, 3, 8)


# --- rules ------------------------------------------------------------------------------------------------------------


def bodies(tokens: tf.Tensor) -> list[list[int]]:
    """Words of every hypothesis that there is, without </s>."""
    rows = tokens.numpy().reshape(-1, tokens.shape[-1])
    assert all((row == END_ID).sum() == 1 for row in rows), "every caption ends"
    return [[int(t) for t in row if t not in (PAD_ID, END_ID)] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 4])
def test_no_ngram_twice(size):
    net = network(8, seed=3)
    net.words.bias.assign(tf.one_hot(END_ID, 8) * -6.0)  # long captions of four words must repeat themselves
    ngrams = [[tuple(b[i : i + size]) for i in range(len(b) - size + 1)] for b in bodies(said(net, block_ngram=size))]
    assert all(len(set(row)) == len(row) for row in ngrams) and max(map(len, ngrams)) > 5
    asked = decode(
        net,
        features(),
        DecodingConfig(beam=3, max_length=12, **PLAIN),
        overrides={"block_ngram": tf.fill([tf.shape(features())[0]], size)},
    ).tokens
    np.testing.assert_array_equal(asked, said(net, block_ngram=size), "a request's rule is the configured one")
    free = [[tuple(b[i : i + size]) for i in range(len(b) - size + 1)] for b in bodies(said(net, block_ngram=0))]
    assert any(len(set(row)) < len(row) for row in free), "the rule had something to forbid"


def said(net, **knobs) -> tf.Tensor:
    return decode(net, features(), DecodingConfig(**{"beam": 3, "max_length": 12, **PLAIN, **knobs})).tokens


def test_least_number_of_words():
    net = network(12)
    net.words.bias.assign(tf.one_hot(END_ID, 12) * 5.0)
    assert min(len(b) for b in bodies(said(net, beam=2))) == 0
    lengths = [len(b) for b in bodies(said(net, beam=2, min_length=4))]
    assert min(lengths) == 4


@pytest.mark.slow
def test_no_dangling_end():
    words = Vocabulary([*RESERVED_TOKENS, "dog", "runs", "the", "of", "red", "cat"])
    dangling = dangling_ids(words)
    assert [words.words[i] for i in dangling] == ["the", "of"]
    net = network(len(words), seed=1)
    net.words.bias.assign(tf.one_hot(6, len(words)) * 2.0 + tf.one_hot(7, len(words)) * 2.0)
    for max_length in (4, 9):  # cut short or not
        config = DecodingConfig(beam=3, max_length=max_length, min_length=1, block_ngram=0)
        ends = {b[-1] for b in bodies(decode(net, features(), config, dangling).tokens)}
        assert not ends & set(dangling)
        allowed = config.model_copy(update={"dangling": True})
        assert {b[-1] for b in bodies(decode(net, features(), allowed, dangling).tokens)} & set(dangling)


@pytest.mark.slow
def test_diverse_groups_say_different_words():
    net = network(20, seed=4)

    def first_words(**knobs):
        return [len({int(t) for t in row[:, 0]}) for row in said(net, beam=4, **knobs)]

    assert first_words(groups=4, diversity=50.0) == [4] * 5
    np.testing.assert_array_equal(said(net, beam=4, groups=1, diversity=50.0), said(net, beam=4))
    # Without a price on sameness each group is a beam of its own size that knows of no other.
    alone = said(net, beam=2)
    twice = said(net, beam=4, groups=2, diversity=0.0).numpy()
    for i in range(5):
        assert sorted(map(tuple, twice[i])) == sorted([*map(tuple, alone[i].numpy())] * 2)


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_samples_follow_the_distribution():
    net, n = network(8, seed=2, sharpness=2.0), 64
    picture = features(1)
    seeds = tf.range(200)
    config = DecodingConfig(beam=n, max_length=2, temperature=0.7, **PLAIN)
    drawn = decode(net, tf.repeat(picture, 200, axis=0), config, overrides={"seed": seeds}).tokens.numpy()[:, :, 0]
    memory, state = net.encode(picture)
    logits = net.step(memory, state, tf.constant([START_ID]))[0].numpy()[0].astype(np.float64)
    # The first of two tokens is any word or </s>; <pad>, <s> and <unk> are never drawn.
    logits[[PAD_ID, START_ID, UNKNOWN_ID]] = -np.inf
    expected = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    found = np.bincount(drawn.ravel(), minlength=8) / drawn.size
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / drawn.size))


@pytest.mark.slow
def test_top_k_and_top_p_cut_the_tail():
    net = network(30, seed=2, sharpness=1.0)
    memory, state = net.encode(features(1))
    logits = net.step(memory, state, tf.constant([START_ID]))[0].numpy()[0]
    logits[[PAD_ID, START_ID, UNKNOWN_ID]] = -np.inf
    order = np.argsort(-logits)
    p = np.exp(logits[order]) / np.exp(logits).sum()
    nucleus = set(order[: int(np.searchsorted(np.cumsum(p), 0.5)) + 1])

    def first_tokens(**knobs):
        config = DecodingConfig(beam=64, max_length=2, temperature=1.0, **PLAIN, **knobs)
        return {
            int(t)
            for seed in range(4)
            for t in decode(net, features(1), config.model_copy(update={"seed": seed})).tokens[0, :, 0]
        }

    assert first_tokens(top_k=3) == set(order[:3])
    assert first_tokens(top_p=0.5) == nucleus
    assert len(first_tokens()) > len(nucleus)
    p = np.exp(logits) / np.exp(logits).sum()
    assert first_tokens(min_p=0.4) == set(np.flatnonzero(p >= 0.4 * p.max())) != set(order[:1])
    assert first_tokens(typical_p=0.4) == typical(p, 0.4) != set(order[: len(typical(p, 0.4))])
    few = np.where(np.isin(np.arange(30), order[:6]), p, 0)
    assert first_tokens(top_k=6, typical_p=0.4) == typical(few / few.sum(), 0.4)


@pytest.mark.parametrize("asked", [{"top_k": [0, 3]}, {"top_p": [1.0, 0.5]}, {"typical_p": [1.0, 0.5]}])
def test_what_is_drawn_for_a_picture_is_its_own_whatever_others_ask_for(asked):
    net, config = network(40), DecodingConfig(beam=8, max_length=8, **PLAIN)

    def drawn(**knobs):
        overrides = {"temperature": [1.0, 1.0], "min_p": [0.05, 0.05], "seed": [4, 4], **knobs}
        return decode(net, features(2), config, overrides={k: tf.constant(v) for k, v in overrides.items()}).tokens

    alone, beside = drawn(), drawn(**asked)
    np.testing.assert_array_equal(alone[0], beside[0])
    assert not np.array_equal(alone[1], beside[1])


def typical(p: np.ndarray, share: float) -> set[int]:
    """Meister et al., "Locally Typical Sampling", eq. 6: the fewest words, those nearest to the entropy first."""
    information = -np.log(np.where(p > 0, p, 1.0))
    strangeness = np.where(p > 0, np.abs(information - (p * information).sum()), np.inf)
    order = np.argsort(strangeness)
    return set(order[: int(np.searchsorted(np.cumsum(p[order]), share)) + 1])


@pytest.mark.slow
def test_same_seed_same_captions_whatever_else_is_in_the_batch():
    net = network(20, sharpness=1.0)
    config = DecodingConfig(beam=3, max_length=8, temperature=1.0, **PLAIN)
    seeds = tf.constant([5, 6, 7, 8, 9])
    together = decode(net, features(), config, overrides={"seed": seeds}).tokens.numpy()
    alone = decode(net, features()[3:4], config, overrides={"seed": seeds[3:4]}).tokens.numpy()
    np.testing.assert_array_equal(alone[0], together[3])
    other = decode(net, features(), config, overrides={"seed": seeds + 1}).tokens.numpy()
    assert (other != together).any(axis=(1, 2)).all()


# --- knobs a picture --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_knobs_of_each_picture_do_what_the_same_configuration_does():
    net = network(20, seed=6)
    rows = [
        {"beam": 1},
        {"beam": 4, "groups": 2, "diversity": 3.0},
        {"beam": 3, "temperature": 0.8, "top_k": 5, "seed": 11},
        {"beam": 2, "min_length": 5, "max_length": 7, "length_penalty": 1.5},
        {"beam": 3, "temperature": 1.2, "top_p": 0.6, "seed": 12, "block_ngram": 2},
        {"beam": 3, "temperature": 1.2, "min_p": 0.2, "typical_p": 0.7, "seed": 12, "block_ngram": 2},
    ]
    base = DecodingConfig(max_length=12, **PLAIN)
    names = {name for row in rows for name in row}
    overrides = {name: tf.constant([row.get(name, getattr(base, name)) for row in rows]) for name in names}
    search = tf.function(lambda f, o: decode(net, f, base, overrides=o)[:2], autograph=False)
    tokens, scores = search(features(len(rows)), overrides)
    assert tokens.shape == (len(rows), 4, 12)
    for i, row in enumerate(rows):
        config = DecodingConfig(**{**base.model_dump(), **row})
        if config.temperature:
            alone = decode(net, features(len(rows))[i : i + 1], config, overrides={"seed": tf.constant([config.seed])})
        else:
            alone = decode(net, features(len(rows))[i : i + 1], config)
        K, T = config.beam, config.max_length
        np.testing.assert_array_equal(tokens[i, :K, :T], alone.tokens[0], err_msg=str(row))
        np.testing.assert_allclose(scores[i, :K], alone.scores[0], rtol=1e-4)
        assert np.all(scores[i, K:] < -1e6), "places beyond a picture's own beam hold nothing"


def test_knobs_are_validated():
    with pytest.raises(ValueError, match="multiple"):
        DecodingConfig(beam=3, groups=2)
    with pytest.raises(ValueError, match="must be the smaller"):
        DecodingConfig(min_length=24, max_length=24)
    with pytest.raises(ValueError, match="no such knobs of decoding"):
        decode(network(), features(), DecodingConfig(), overrides={"beams": tf.constant([1])})


# --- what is blocked --------------------------------------------------------------------------------------------------

LISTS = WordLists({"x": ["zorg", "walk in", "in the woods", "grr*", "kys"]}, allowed=["walk in peace"])
SAID = ["walk", "in", "the", "woods", "z0rg", "zorg", "grrrrowl", "k", "y", "s", ",", "a", "walks", "W4lk".lower()]
VOCABULARY = [*RESERVED_TOKENS, BREAK, *SAID]


def test_the_automaton_knows_words_phrases_and_what_is_spelled_out():
    blocked = constrain(VOCABULARY, LISTS)
    assert [VOCABULARY[i] for i in blocked.words] == ["z0rg", "zorg", "grrrrowl"]

    def ends_in_a_phrase(*words: str) -> bool:
        state = 0
        for word in words:
            kind = blocked.kinds[VOCABULARY.index(word)]
            if blocked.forbidden[state, kind]:
                return True
            state = blocked.follows[state, kind]
        return False

    for words in (
        ("walk", "in"),
        ("w4lk", BREAK, ",", "in"),
        ("a", "in", "the", "woods"),
        ("in", "in", "the", "woods"),
    ):
        assert ends_in_a_phrase(*words), words
    assert ends_in_a_phrase("k", "y", "s") and ends_in_a_phrase("a", "k", "k", ",", "y", "s")
    for words in (("walks", "in"), ("in", "walk"), ("in", "the", "a", "woods"), ("the", "woods"), ("k", "a", "y", "s")):
        assert not ends_in_a_phrase(*words), words


def test_nothing_to_block():
    blocked = constrain([*RESERVED_TOKENS, "a", "b"], LISTS)
    assert blocked.words == [] and not blocked.has_phrases


@pytest.mark.parametrize(
    "knobs",
    [
        {"beam": 1},
        {"beam": 4},
        {"beam": 4, "groups": 2, "diversity": 1.0},
        {"beam": 6, "temperature": 1.5, "seed": 3},
        {"beam": 6, "temperature": 3.0, "top_k": 4},
        {"beam": 6, "temperature": 2.0, "top_p": 0.5},
    ],
)
@pytest.mark.parametrize("overridden", [False, True])
def test_what_is_blocked_is_never_said(knobs, overridden):
    """However much the network wants to, by the knobs of the configuration or by those of a request."""
    blocked = constrain(VOCABULARY, LISTS)
    found = {True: 0, False: 0}
    net = network(len(VOCABULARY), 0, sharpness=2.0)
    config = DecodingConfig(max_length=12, block_ngram=0, **({} if overridden else knobs))
    overrides = {
        name: tf.fill([5], tf.constant(value, tf.int32 if isinstance(value, int) else tf.float32))
        for name, value in knobs.items()
    }
    for block in (True, False):
        decoded = decode(
            net, features(), config, (), blocked if block else None, overrides=overrides if overridden else None
        )
        for tokens, score in zip(decoded.tokens.numpy().reshape(-1, 12), decoded.scores.numpy().reshape(-1)):
            words = [VOCABULARY[i] for i in tokens if i > UNKNOWN_ID]
            found[block] += score > -1e6 and bool(LISTS.find(spell(words)))
    assert found[True] == 0 and found[False] > 0, "without the lists it would have been said"


def test_what_is_not_blocked_is_said_as_before():
    net = network(20)
    blocked = constrain(
        [*RESERVED_TOKENS, *(chr(ord("a") + i) * 2 for i in range(16))], WordLists({"x": ["nothing of it"]})
    )
    plain, same = (decode(net, features(), DecodingConfig(max_length=9), (), b) for b in (None, blocked))
    np.testing.assert_array_equal(plain.tokens, same.tokens)
    np.testing.assert_array_equal(plain.scores, same.scores)


def test_a_word_is_drawn_where_the_cumulative_sum_passes():
    """Over several blocks of words, some without any probability; never a word that has none."""
    rng = np.random.default_rng(0)
    mass = rng.dirichlet([0.05] * 150, (3, 40)).astype(np.float32) * rng.uniform(0.2, 3, (3, 40, 1)).astype(np.float32)
    mass[mass < 1e-6] = 0
    mass[0, :, :64] = 0  # a block of nothing first
    mass[1, :, 64:] = 0  # and last
    uniform = rng.random((3, 40)).astype(np.float32)
    uniform[:, :2] = 0, np.nextafter(np.float32(1), np.float32(0))
    found = _inverted(tf.constant(mass), tf.constant(uniform)).numpy()
    cumulative = np.cumsum(mass.astype(np.float64), axis=2)
    exact = (cumulative <= uniform[..., np.newaxis] * cumulative[..., -1:] * (1 - 1e-6)).sum(axis=2)
    assert (np.take_along_axis(mass, found[..., np.newaxis], axis=2) > 0).all()
    assert (found == exact).mean() > 0.98, "rounding apart"
