import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memefly.metrics.kneser_ney import KneserNey

CAPTIONS = [["a", "cat", "sat"], ["a", "dog", "sat"], ["the", "cat", "ran"], ["a", "cat", "sat", "a", "cat"]]


@given(before=st.lists(st.sampled_from(["a", "cat", "dog", "the", "sat", "ran", "moose", "<s>"]), max_size=5))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("more", [[], ["moose", "cat", "elk"]])
def test_probabilities_add_up_to_one(order, more, before):
    model = KneserNey(CAPTIONS, order, more)
    assert model.vocabulary == {"a", "the", "cat", "dog", "sat", "ran", "</s>", "<unk>", *more}
    history = ["<s>"] * order + before
    assert sum(model.probability(word, history) for word in model.vocabulary) == pytest.approx(1.0)


def test_two_words_by_hand():
    """Captions `a b`, `a c`, `b`: pairs (<s>,a) 2, (<s>,b), (a,b), (a,c), (b,</s>) 2, (c,</s>), so n1 = 4, n2 = 2 and a
    discount of 4 / 8. Below, in how many words each stands behind another: a 1, b 2, c 1, </s> 2, n1 = 2, n2 = 2, a
    discount of 2 / 6; four words and the unseen one are alike at the bottom."""
    model = KneserNey([["a", "b"], ["a", "c"], ["b"]], order=2)
    bottom, low, high = 1 / 5, 1 / 3, 1 / 2

    def unigram(behind):
        return (max(0, behind - low) + low * 4 * bottom) / 6

    assert model.probability("b", ["a"]) == pytest.approx((1 - high + high * 2 * unigram(2)) / 2)
    assert model.probability("a", ["<s>"]) == pytest.approx((2 - high + high * 2 * unigram(1)) / 3)
    assert model.probability("moose", ["a"]) == pytest.approx(high * 2 * unigram(0) / 2)
    assert model.probability("b", ["moose"]) == pytest.approx(unigram(2)), "a history that it has not seen"
    expected = sum(math.log(model.probability(w, [b])) for b, w in (("<s>", "a"), ("a", "b"), ("b", "</s>")))
    assert model.log_prob(["a", "b"]) == pytest.approx(expected)
    assert model.perplexity([["a", "b"]]) == pytest.approx(math.exp(-expected / 3))


def test_longer_histories_help_and_words_in_disorder_are_unlikely():
    long, short = KneserNey(CAPTIONS * 3, 4), KneserNey(CAPTIONS * 3, 1)
    assert long.perplexity(CAPTIONS) < short.perplexity(CAPTIONS)
    assert long.log_prob(["a", "cat", "sat"]) > long.log_prob(["sat", "a", "cat"]) + 1
    assert long.log_prob(["moose"]) < long.log_prob(["cat"])


def test_what_is_refused():
    with pytest.raises(ValueError, match="order of 1 at least, got 0"):
        KneserNey(CAPTIONS, 0)
    with pytest.raises(ValueError, match="needs captions"):
        KneserNey([], 3)
    assert KneserNey(CAPTIONS).perplexity([]) == 1.0
