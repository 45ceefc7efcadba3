import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from memefly import text
from memefly.text import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Vocabulary

WORDS = [*text.RESERVED_TOKENS, "the", "cat", "don't", "naïve"]


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A man, in a RED shirt .", ["a", "man", "in", "a", "red", "shirt"]),
        ("Don’t 'quote' the dogs' bowl", ["don't", "quote", "the", "dogs", "bowl"]),
        ("well-known U.F.O. 24/7", ["well", "known", "u", "f", "o", "24", "7"]),
        ("NAÏVE Straße İstanbul", ["naïve", "straße", "i̇stanbul"]),
        ("¿qué? 日本 ру́сский", ["qué", "日本", "ру́сский"]),
        (" \t\n … 🐸 !!! ''' ", []),
        ("", []),
    ],
)
def test_tokens(caption, tokens):
    assert text.tokenize(caption) == tokens


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(), max_size=8))
def test_graph_and_python_read_captions_alike(captions):
    if captions:
        graph = text.tokenize_graph(tf.constant(captions)).to_list()
        assert [[w.decode() for w in row] for row in graph] == [text.tokenize(c) for c in captions]


@pytest.mark.slow
def test_graph_and_python_read_every_character_alike():
    """Whatever Unicode the tables of `regex`, of this Python and of TensorFlow are of."""
    characters = [chr(c) if not 0xD800 <= c < 0xE000 else " " for c in range(0x110000)]
    for start in range(0, len(characters), 1 << 12):
        part = " ".join(f"a{c}b" for c in characters[start : start + (1 << 12)])
        graph = text.normalize_graph(tf.constant(part)).numpy().decode()
        assert graph == text.normalize(part), f"among the {1 << 12} from U+{start:X}; see text._LATER"


def test_vocabulary_round_trip():
    vocabulary = Vocabulary(WORDS)
    ids = vocabulary.encode("The cat, don't PANIC")
    assert ids == [START_ID, 4, 5, 6, UNKNOWN_ID, END_ID]
    assert vocabulary.decode([*ids, PAD_ID, 4]) == "the cat don't <unk>"


def test_vocabulary_refuses_other_reserved_tokens():
    with pytest.raises(ValueError, match="starts with"):
        Vocabulary(["a", "b", "c", "d"])


def test_ids_in_the_graph_equal_those_in_python():
    vocabulary = Vocabulary(WORDS)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(WORDS, tf.range(len(WORDS), dtype=tf.int64)), UNKNOWN_ID
    )
    captions = ["the cat", "", "the naïve cat saw the other naïve cat"]
    ids = text.encode_graph(tf.constant(captions), lambda ragged: tf.ragged.map_flat_values(table.lookup, ragged), 6)
    for row, caption in zip(ids.numpy(), captions):
        expected = vocabulary.encode(caption, max_length=6)
        np.testing.assert_array_equal(row, expected + [PAD_ID] * (6 - len(expected)))
    assert END_ID not in ids.numpy()[2]  # cut, so it does not pretend to end there

    spelled = text.decode_graph(ids, lambda i: tf.gather(WORDS, i)).numpy()
    assert [s.decode() for s in spelled[:2]] == ["<s> the cat", "<s>"]
    spelled = text.decode_graph(ids[:, 1:], lambda i: tf.gather(WORDS, i)).numpy()
    assert [s.decode() for s in spelled[:2]] == ["the cat", ""]
