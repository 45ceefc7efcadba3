"""Words cut into pieces: learning, cutting, spelling; plain Python and graph ops alike."""

import subprocess
import sys

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from memefly import text
from memefly.spelling import BREAK, Spelling, spell
from memefly.subwords import ALWAYS, LONGEST, Cutter, cut_graph, learn

MEMES = Spelling(breaks=True, punctuation="keep", emoji="keep")
COUNTS = {"walk": 9, "walks": 6, "walking": 5, "talking": 4, "don't": 3, "!": 7, "é": 2, "…": 1, "ha" * 12: 3, "😂": 5}
CHARACTERS = 2 * len(ALWAYS)


def test_the_commonest_neighbours_are_merged_first():
    """By hand: l+k stands in walk* (20) and talk* (4), a+l in the same 24 and first by its letters, and so on."""
    pieces = learn({"walk": 9, "walks": 6, "walking": 5, "talking": 4}, 1000)
    assert pieces[CHARACTERS : CHARACTERS + 3] == ["##al", "##alk", "walk"]
    assert Cutter(pieces)("walk") == ["walk"]
    assert Cutter(pieces)("walkings") == ["walking", "##s"]


def test_size_and_characters():
    assert len(learn(COUNTS, 90)) == 90
    few = learn(COUNTS, CHARACTERS + 1)
    assert len(few) == CHARACTERS + 1 and few[-1] == "!", "the commonest of the others"
    rare = learn(COUNTS, 1000, min_count=3)
    assert "é" not in rare and "…" not in rare and "😂" in rare
    assert all(len(piece.removeprefix("##")) <= LONGEST for piece in rare)


def test_the_same_counts_give_the_same_pieces():
    counts = {f"{a}{b}{c}": 1 + (i * 7) % 5 for i, a in enumerate("abcd") for b in "xyz" for c in "stu"}
    code = f"from memefly.subwords import learn; print(learn({dict(reversed(counts.items()))}, 120))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(learn(counts, 120))


@pytest.fixture(scope="module")
def vocabulary():
    return text.Vocabulary([*text.reserved_tokens(MEMES), *learn(COUNTS, 200)])


@pytest.fixture(scope="module")
def lookup(vocabulary):
    keys = tf.constant(vocabulary.words)
    init = tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(vocabulary), dtype=tf.int64))
    return tf.lookup.StaticHashTable(init, text.UNKNOWN_ID).lookup


WORDS = st.text(alphabet="walkingtshd'é😂ß1.", min_size=1, max_size=40)


@pytest.mark.slow
@given(texts=st.lists(st.lists(WORDS, max_size=6).map(" ".join), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_graph_and_python_cut_alike(vocabulary, lookup, texts):
    graph = text.encode_graph(tf.constant(texts), lambda w: cut_graph(w, lookup, text.UNKNOWN_ID), 60, MEMES)
    for row, caption in zip(graph.numpy(), texts):
        expected = vocabulary.encode(caption, 60, MEMES)
        assert row.tolist() == expected + [text.PAD_ID] * (60 - len(expected))


@given(caption=st.text(alphabet="walkingtshd' !\n", max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_word_is_unknown_and_none_is_lost(vocabulary, caption):
    words = [word for word in MEMES.cut(caption) if word not in (".", "‘")]  # signs that nothing was learned of
    ids = vocabulary.encode(spell(words), None, MEMES)
    assert text.UNKNOWN_ID not in ids and vocabulary.decode(ids) == spell(words)


@given(texts=st.lists(st.lists(WORDS, max_size=6).map(" ".join), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_graph_and_python_spell_alike(vocabulary, texts):
    ids = [vocabulary.encode(caption, None, MEMES) for caption in texts]
    padded = tf.ragged.constant(ids, tf.int64).to_tensor()[:, 1:]
    spelled = text.decode_graph(padded, lambda i: tf.gather(tf.constant(vocabulary.words), i))
    assert [one.decode() for one in spelled.numpy()] == [vocabulary.decode(one) for one in ids]


def test_a_break_stays_a_break(vocabulary):
    ids = vocabulary.encode("walk!\nwalking", None, MEMES)
    assert [vocabulary.words[i] for i in ids[1:-1]] == ["walk", "!", BREAK, "walking"]
    assert vocabulary.decode(ids) == "walk!\nwalking"


def test_a_piece_that_goes_on_with_nothing_is_a_word():
    assert spell(["##s", "walk", "##ing", "!", BREAK, "##k"]) == "s walking!\nk"
