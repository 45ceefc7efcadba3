"""What captions are to begin with: in the search, and in an exported model, as text."""

import numpy as np
import pytest
import tensorflow as tf
from test_decoding import PLAIN, brute_force, features, network

from memefly import text
from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.rules import break_of, pieces_of
from memefly.spelling import BREAK, Spelling
from memefly.text import END_ID, PAD_ID, RESERVED_TOKENS, UNKNOWN_ID, Vocabulary

PREFIX = tf.constant([[4, PAD_ID], [5, 6], [PAD_ID, PAD_ID]])


def best(decoded, i: int, k: int = 0) -> tuple[int, ...]:
    return tuple(int(t) for t in decoded.tokens[i, k] if t != PAD_ID)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_search_finds_the_best_of_those_that_begin_so(penalty):
    net = network(7, seed=1)
    config = DecodingConfig(beam=64, max_length=4, length_penalty=penalty, **PLAIN)
    decoded = decode(net, features(3), config, prefix=PREFIX)
    for i, begins in enumerate([(4,), (5, 6), ()]):
        all_of_them = brute_force(net, features(3)[i : i + 1], 4, penalty)
        expected = [(score, caption) for score, caption in all_of_them if caption[: len(begins)] == begins]
        scores = decoded.scores[i].numpy()
        np.testing.assert_allclose(scores[: len(expected)], [score for score, _ in expected], rtol=1e-4)
        assert np.all(scores[len(expected) :] < -1e6) and best(decoded, i) == expected[0][1]
        assert 1 < len(expected) < 64


def test_none_changes_nothing():
    net, config = network(20, seed=2), DecodingConfig(beam=3, max_length=7)
    plain, begun = (decode(net, features(), config, prefix=p) for p in (None, tf.zeros([5, 4], tf.int32)))
    np.testing.assert_array_equal(plain.tokens, begun.tokens)
    np.testing.assert_array_equal(plain.scores, begun.scores)


@pytest.mark.parametrize(
    "knobs",
    [
        {"beam": 4},
        {"beam": 4, "groups": 2, "diversity": 5.0},
        {"beam": 3, "temperature": 2.0, "min_p": 0.1},
        {"beam": 2, "candidates": 6, "temperature": 1.5, "mmi": 0.5},
    ],
)
def test_every_way_of_choosing_begins_so(knobs):
    net, config = network(20, seed=3), DecodingConfig(max_length=8, block_ngram=1, **knobs)
    prefix = tf.constant([[7, 7, 9]] * 5)  # which the rules would not have said
    decoded = decode(net, features(), config, prefix=prefix)
    captions = {best(decoded, i, k) for i in range(5) for k in range(config.beam) if decoded.scores[i, k] > -1e6}
    assert len(captions) > 3 and {caption[:3] for caption in captions} == {(7, 7, 9)}
    assert all(caption[-1] == END_ID and not set(caption[3:]) & {7, 9} for caption in captions)


def test_what_has_no_room_is_not_said():
    net, config = network(20, seed=3), DecodingConfig(beam=2, max_length=4, **PLAIN)
    decoded = decode(net, features(1), config, prefix=tf.constant([[7, 8, 9, 10, 11]]))
    assert best(decoded, 0) == (7, 8, 9, END_ID)


WORDS = Vocabulary([*RESERVED_TOKENS, BREAK, "walk", "##ing", "##s", "w", "##a", ",", "!", "so", *"abcdefg"])
SPELLING = Spelling(breaks=True, punctuation="keep", emoji="keep")


def test_no_piece_goes_on_with_a_word_of_the_prefix():
    net, config = network(len(WORDS), seed=4), DecodingConfig(beam=6, max_length=6, **PLAIN)
    prefix = tf.constant([[WORDS.encode("walk")[1]]] * 5)
    decoded = decode(net, features(), config, pieces=pieces_of(WORDS), break_id=break_of(WORDS), prefix=prefix)
    said = [[WORDS.words[t] for t in best(decoded, i, k)] for i in range(5) for k in range(6)]
    assert {caption[0] for caption in said} == {"walk"} and not any(caption[1].startswith("##") for caption in said)


def lookups(words: tuple[str, ...]):
    ids = {word.encode(): i for i, word in enumerate(words)}
    to_id = np.vectorize(lambda word: ids.get(word, UNKNOWN_ID), otypes=[np.int64])
    return lambda strings: tf.numpy_function(to_id, [strings], tf.int64) if tf.size(strings) else tf.zeros_like(
        strings, tf.int64
    ), lambda i: tf.gather(tf.constant(words), i)  # fmt: skip


@pytest.mark.parametrize("has_pieces", [True, False])
def test_text_to_tokens_and_back(has_pieces):
    vocabulary = WORDS if has_pieces else Vocabulary([*RESERVED_TOKENS, BREAK, "walk", "so", ",", "!", "abcdefg"])
    to_id, to_word = lookups(vocabulary.words)
    texts = ["Walking, so\n", "", "so!", "a  walk\nso", "zebra \n\n ", " \n"]
    tokens, words = text.prefix_graph(tf.constant(texts), to_id, SPELLING, has_pieces)
    for row, one in zip(tokens.numpy(), texts):
        wanted = vocabulary.encode(one, None, SPELLING)[1:-1]
        wanted += [vocabulary.words.index(BREAK)] if one.rstrip(" ").endswith("\n") and one.strip() else []
        assert [i for i in row if i != PAD_ID] == wanted
    # What goes on, spelled with it: words that no vocabulary has are as they were written.
    more = [vocabulary.words.index("so"), vocabulary.words.index("!"), END_ID, PAD_ID]
    ids = [[[i for i in row if i != PAD_ID] + more] for row in tokens.numpy()]
    longest = max(len(row[0]) for row in ids)
    padded = tf.constant([[row[0] + [PAD_ID] * (longest - len(row[0]))] for row in ids])
    spelled = [one[0].decode() for one in text.decode_graph(padded, to_word, (tokens, words)).numpy()]
    assert spelled == ["walking, so\nso!", "so!", "so! so!", "a walk\nso so!", "zebra\nso!", "so!"]
