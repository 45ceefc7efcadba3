"""What a model may learn beside words: the same in Python and in the graph, and back again."""

import itertools

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memefly import text
from memefly.spelling import BREAK, PLAIN, Spelling, spell, spell_graph

ALL = [
    Spelling(breaks=breaks, punctuation=punctuation, emoji=emoji)
    for breaks, punctuation, emoji in itertools.product((False, True), ("drop", "keep"), ("drop", "keep"))
]
WHOLE, PUNCTUATED = ALL[-1], ALL[-2]
# What the rules are about, far more often than by chance.
TEXTS = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from([*"ab3'’-–.,!?… \n\"#", "❤️", "👍🏽", "👩‍👩‍👧", "🇩🇪", "\u200d", "\ufe0f", "\ue001", "É", "日"]),
        max_size=24,
    ).map("".join),
)


@pytest.mark.parametrize(
    ("written", "words", "spelled"),
    [
        ("NOT simply...\nwalk, my friend!", "not simply … <br> walk , my friend !", "not simply…\nwalk, my friend!"),
        ("Don't 'quote' the dogs’ bowl", "don't ‘ quote ' the dogs ' bowl", "don't 'quote' the dogs' bowl"),
        ("well-known – a-b-c -- so", "well - known – a - b - c – so", "well-known - a-b-c - so"),
        ("3.5 of 1,000,000 . , 2", "3.5 of 1,000,000 . , 2", "3.5 of 1,000,000., 2"),
        ("what ?!", "what ? !", "what?!"),
        ('"Hello," she said; (bye)', "hello , she said bye", "hello, she said bye"),
        ("\n\nup\n \n\ndown\n", "up <br> down", "up\ndown"),
        ("I ❤️ U😂😂 👩‍👩‍👧🇩🇪🇫🇷", "i ❤️ u 😂 😂 👩‍👩‍👧 🇩🇪 🇫🇷", "i ❤️ u 😂 😂 👩‍👩‍👧 🇩🇪 🇫🇷"),
        ("'90s ''", "‘ 90s '", "'90s'"),
        ("", "", ""),
        (" \n ", "", ""),
    ],
)  # fmt: skip
def test_words(written, words, spelled):
    assert WHOLE.cut(written) == words.split()
    assert spell(words.split()) == spelled


def test_each_is_kept_alone():
    written = "Hey, you 😂\nbye"
    assert [" ".join(spelling.cut(written)) for spelling in ALL] == [
        "hey you bye", "hey you 😂 bye", "hey , you bye", "hey , you 😂 bye",
        "hey you <br> bye", "hey you 😂 <br> bye", "hey , you <br> bye", "hey , you 😂 <br> bye",
    ]  # fmt: skip


@pytest.mark.parametrize("spelling", ALL, ids=str)
@settings(max_examples=30, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_graph_and_python_cut_and_spell_alike(spelling, texts):
    words = [spelling.cut(written) for written in texts]
    assert [[w.decode() for w in row] for row in spelling.cut_graph(tf.constant(texts)).to_list()] == words
    spelled = spell_graph(tf.constant([" ".join(row) for row in words])).numpy()
    assert [s.decode() for s in spelled] == [spell(row) for row in words]


@settings(max_examples=250, deadline=None)
@given(TEXTS)
@example("' a")
@example("0-'")
@example(".+.")
@example("🇦🇦\u200d▪")
@example("a - -b'")
@example(". .")
def test_what_was_spelled_is_cut_into_the_same_words(written):
    words = WHOLE.cut(written)
    assert WHOLE.cut(spell(words)) == words
    assert not words or (words[0] != BREAK and words[-1] != BREAK)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_metrics_read_what_was_spelled_as_what_was_written(written):
    """Words are words, whatever a model learns beside them. (An emoji may end in a mark, which counts as a letter.)"""
    assert text.tokenize(spell(PUNCTUATED.cut(written))) == PLAIN.cut(written)
