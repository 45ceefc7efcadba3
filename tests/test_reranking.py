import itertools

import numpy as np
import pytest
import tensorflow as tf

from memefly import networks, reranking
from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.networks import NetworkConfig
from memefly.rules import break_of
from memefly.spelling import BREAK
from memefly.text import END_ID, PAD_ID, RESERVED_TOKENS, START_ID, Vocabulary

SHAPE, V, T = (2, 2, 5), 24, 9
PLAIN = {"min_length": 0, "block_ngram": 0, "max_length": T}


def build(kind: str) -> networks.Network:
    config = {"embedding": 8, "units": 8, "attention_units": 4, "layers": 2, "tie_weights": False}
    net = networks.build(NetworkConfig(kind=kind, **config), V, SHAPE, 3)
    net.words.kernel.assign(net.words.kernel * 2)
    return net


@pytest.fixture(scope="module")
def net():
    return build("attention")


@pytest.fixture(scope="module")
def features():
    return 2 * tf.random.stateless_normal([4, *SHAPE], [7, 7])


def word_by_word(net, step, picture: tf.Tensor, tokens: list[int]) -> float:
    """The log-probability of a caption, in plain steps: `net.step`, or a graph of it."""
    memory, state = net.encode(picture[tf.newaxis])
    last, total = START_ID, 0.0
    for token in tokens:
        logits, state, _ = step(memory, state, tf.constant([last]))
        total += float(tf.nn.log_softmax(logits)[0, token])
        last = token
    return total


def words_of(row: np.ndarray) -> list[int]:
    return [int(token) for token in row if token != PAD_ID]


def chosen_by_hand(net, step, picture, candidates, config: DecodingConfig) -> list[tuple[int, ...]]:
    left = [words_of(row) for row in candidates]
    told: list[tuple[int, ...]] = []
    both = {tuple(t): [word_by_word(net, step, shown, t) for shown in (picture, tf.zeros_like(picture))] for t in left}

    def worth(tokens: list[int]) -> float:
        shown, unseen = both[tuple(tokens)]
        rank = (shown - config.mmi * unseen) / len(tokens) ** config.length_penalty
        words = tokens[:-1]
        pairs = list(itertools.pairwise(words))
        rank -= config.repetition * (1 - len(set(pairs)) / len(pairs)) if pairs else 0.0
        alike = [len(set(words) & set(t[:-1])) / max(1, len(set(words) | set(t[:-1]))) for t in told]
        return rank - config.difference * max(alike, default=0.0) - 1e6 * (tuple(tokens) in told)

    while len(told) < config.beam:
        best = max(left, key=worth)
        left.remove(best)
        told.append(tuple(best))
    return told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "search"), [("attention", {}), ("attention", {"temperature": 1.3, "seed": 5}), ("transformer", {})]
)
def test_the_best_candidates_are_told(features, kind, search):
    net = build(kind)
    step, weights = tf.function(net.step, reduce_retracing=True), {"mmi": 0.4, "repetition": 3.0, "difference": 2.0}
    knobs = {**PLAIN, **search, "length_penalty": 0.5}
    candidates = decode(net, features[:2], DecodingConfig(beam=8, **knobs)).tokens.numpy()
    config = DecodingConfig(beam=3, candidates=8, **knobs, **weights)
    told = decode(net, features[:2], config)
    assert told.tokens.shape == (2, 3, T)
    for i in range(2):
        by_hand = chosen_by_hand(net, step, features[i], candidates[i], config)
        assert [tuple(words_of(row)) for row in told.tokens[i].numpy()] == by_hand
        for score, tokens in zip(told.scores[i].numpy(), by_hand):
            plain = word_by_word(net, step, features[i], tokens) / len(tokens) ** 0.5
            assert score == pytest.approx(plain, abs=1e-3), "a score is what it is without a choice"


def test_a_choice_is_a_choice(net, features):
    """Each weight changes what is told of some picture: none is idle."""
    knobs = {**PLAIN, "beam": 2, "candidates": 32, "temperature": 0.6, "length_penalty": 2.0}
    plain = decode(net, features, DecodingConfig(**knobs)).tokens.numpy()
    for weight in ({"mmi": 1.0}, {"repetition": 30.0}, {"difference": 30.0}):
        assert (decode(net, features, DecodingConfig(**knobs, **weight)).tokens.numpy() != plain).any(), weight


def test_the_same_caption_comes_twice_only_where_there_is_no_other():
    tokens = tf.constant([[[7, END_ID], [7, END_ID], [8, END_ID], [7, END_ID]]])
    log_probs, nothing = tf.constant([[-1.0, -1.0, -9.0, -1.0]]), tf.zeros([1, 4])
    off = tf.constant(0.0)
    order = reranking.best(
        log_probs, nothing, tokens, nothing + 1, vocabulary_size=9, mmi=off, repetition=off, difference=off
    )
    assert order.numpy().tolist() == [[0, 2, 1, 3]]


def test_repetition_and_overlap():
    tokens = tf.constant([[[5, 6, 5, 6, 5, END_ID], [5, 6, 7, END_ID, PAD_ID, PAD_ID], [END_ID, *[PAD_ID] * 5]]])
    np.testing.assert_allclose(reranking.repeated(tokens), [[2 / 4, 0, 0]])
    np.testing.assert_allclose(reranking.overlap(tokens, 9), [[[1, 2 / 3, 0], [2 / 3, 1, 0], [0, 0, 0]]])


@pytest.mark.slow
def test_as_a_knob_of_each_picture(net, features):
    rows = [
        {"beam": 3},
        {"beam": 1, "candidates": 8, "mmi": 0.5},
        {"beam": 2, "candidates": 6, "difference": 4.0, "temperature": 1.0},
        {"beam": 2, "candidates": 1, "repetition": 1.0},
    ]
    base = DecodingConfig(**PLAIN)
    names = {name for row in rows for name in row}
    overrides = {name: tf.constant([row.get(name, getattr(base, name)) for row in rows]) for name in names}
    overrides["seed"] = tf.constant([5, 6, 7, 8])
    tokens, scores, _ = tf.function(lambda f, o: decode(net, f, base, overrides=o), autograph=False)(
        features, overrides
    )
    assert tokens.shape == (4, 3, T)
    for i, row in enumerate(rows):
        config = DecodingConfig(**{**base.model_dump(), **row})
        seed = {"seed": overrides["seed"][i : i + 1]} if config.temperature else None
        alone = decode(net, features[i : i + 1], config, overrides=seed)
        np.testing.assert_array_equal(tokens[i, : config.beam], alone.tokens[0], err_msg=str(row))
        np.testing.assert_allclose(scores[i, : config.beam], alone.scores[0], rtol=1e-4)
        assert np.all(scores[i, config.beam :] < -1e6), "places beyond a picture's own beam hold nothing"


def test_as_many_boxes_as_are_asked_for(net, features):
    vocabulary = Vocabulary([*RESERVED_TOKENS, BREAK, *(f"w{i}" for i in range(V - 5))])
    break_id = break_of(vocabulary)
    assert break_id == 4 and break_of(Vocabulary([*RESERVED_TOKENS, "a"])) is None
    knobs = {**PLAIN, "beam": 4, "temperature": 1.0}

    def boxes(tokens):
        return 1 + (tokens.numpy() == break_id).sum(axis=-1)

    free = boxes(decode(net, features, DecodingConfig(**knobs), break_id=break_id).tokens)
    assert len(set(free.ravel())) > 1
    for n in (1, 2, 3):
        told = decode(net, features, DecodingConfig(boxes=n, **knobs), break_id=break_id)
        assert (boxes(told.tokens) == n).all()
    each = {"boxes": tf.constant([0, 1, 2, 3])}
    told = boxes(decode(net, features, DecodingConfig(**knobs), break_id=break_id, overrides=each).tokens)
    assert [set(row) for row in told[1:]] == [{1}, {2}, {3}] and (told[0] == free[0]).all()


def test_what_cannot_be():
    with pytest.raises(ValueError, match="candidates of 8 has no 3 groups"):
        DecodingConfig(beam=3, groups=3, candidates=8)
    with pytest.raises(ValueError, match="mmi"):
        DecodingConfig(mmi=-0.1)


def test_the_boxes_that_most_candidates_have_are_told():
    """Of eight, the likeliest has three boxes, as no other has; three have one box, which is not odd."""
    break_id, end = 5, END_ID
    two, one = ([[7 + i, 5, 8, end, 0, 0] for i in range(4)], [[9, i, end, 0, 0, 0] for i in (7, 8, 9)])
    rows = [[7, 5, 8, 5, 9, end], *two, *one]
    tokens = tf.constant([rows], tf.int32)
    there = tf.ones([1, 8], tf.bool)
    assert reranking.odd_boxes(tokens, there, break_id).numpy().tolist() == [[True] + 7 * [False]]
    # Where the others hold nothing, two of one kind are what most agree on, and the third is not odd either.
    few = tf.constant([[True, True, True] + 5 * [False]])
    assert not reranking.odd_boxes(tokens, few, break_id).numpy()[0, :3].any()
    log_probs = tf.constant([[-1.0, -3, -4, -5, -6, -7, -2, -8]])
    knobs = {"vocabulary_size": 20, **dict.fromkeys(("mmi", "repetition", "difference"), tf.constant(0.0))}
    nothing, norm = tf.zeros([1, 8]), tf.ones([1, 8])
    assert reranking.best(log_probs, nothing, tokens, norm, **knobs).numpy()[0, 0] == 0
    order = reranking.best(log_probs, nothing, tokens, norm, break_id=break_id, **knobs).numpy()[0]
    assert order.tolist() == [6, 1, 2, 3, 4, 5, 7, 0], "it comes last, and is there"


@pytest.mark.parametrize(
    "knobs",
    [
        {"candidates": 6, "mmi": 0.5, "repetition": 2.0, "difference": 1.0},
        {"temperature": 1.0, "candidates": 4, "mmi": 1.0},
        {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "typical_p": 0.8, "min_p": 0.01},
    ],
)
def test_in_a_graph_of_one_batch_size(features, knobs):
    """Where TensorFlow knows the size of the batch, and has lost what came of a branch that is always taken."""
    net, config = build("transformer"), DecodingConfig(beam=2, **PLAIN, **knobs)
    graph = tf.function(
        lambda x: decode(net, x, config), input_signature=[tf.TensorSpec(features.shape)], autograph=False
    )
    found, expected = graph(features), decode(net, features, config)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
