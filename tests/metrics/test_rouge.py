"""Golden values come from pycocoevalcap 1.2 (its `Rouge`), as

    python -c "from pycocoevalcap.rouge.rouge import Rouge; print(Rouge().compute_score(REFERENCES, HYPOTHESES))"

with the captions of `sentences.py`, by index.
"""

import itertools
import random

import pytest
from sentences import HYPOTHESES, REFERENCES

from memefly.metrics import rouge_l, score
from memefly.metrics.rouge import _common

GOLDEN = [0.8148854961832059, 0.7800511508951408, 0.45607476635514016, 0.7384987893462469]
CORPORA = {
    "each its own": (REFERENCES, HYPOTHESES, 0.6973775506949335),
    "short": (REFERENCES, ["a man", "two dogs", "a child", "one"], 0.3280106291567444),
    "one caption for all": (REFERENCES, ["a man on a horse"] * 4, 0.24751129527470606),
    "one is empty": (REFERENCES, [HYPOTHESES[0], "", *HYPOTHESES[2:]], 0.5023647629711483),
    "one picture only": (REFERENCES[:1], HYPOTHESES[:1], 0.8148854961832059),
    "single words": ([["cat"], ["dog", "a dog"], ["bird bird"]], ["cat", "dog", "bird"], 0.8762886597938144),
    "repeated words": ([["a a b"], ["a c"], ["a a"]], ["a a a b", "c a", "a"], 0.6695578905630452),
}


def cut(references, hypotheses):
    return [[r.split() for r in group] for group in references], [h.split() for h in hypotheses]


@pytest.mark.parametrize("corpus", CORPORA)
def test_golden_values(corpus):
    references, hypotheses, golden = CORPORA[corpus]
    assert rouge_l(*cut(references, hypotheses)) == {"rouge_l": pytest.approx(golden, abs=1e-12)}
    assert score(references, hypotheses)["rouge_l"] == pytest.approx(golden, abs=1e-12)


def test_golden_values_of_single_pictures():
    scores = [rouge_l([group], [h])["rouge_l"] for group, h in zip(*cut(REFERENCES, HYPOTHESES))]
    assert scores == pytest.approx(GOLDEN, abs=1e-12)


def test_a_reference_said_again_is_one_and_nothing_right_is_nothing():
    for index in (0, -1):
        said = [group[index] for group in REFERENCES]
        assert score(REFERENCES, said)["rouge_l"] == pytest.approx(1.0, abs=1e-12)
    assert rouge_l([[["a", "b"]]], [["c", "d"]]) == {"rouge_l": 0.0}


def test_precision_and_recall_may_come_from_different_references():
    # Precision 1 by the long reference, recall 1 by the short one.
    assert rouge_l([[["a", "b", "c", "d", "e"], ["a"]]], [["a", "b"]])["rouge_l"] == pytest.approx(1.0, abs=1e-12)


def test_the_order_of_words_counts():
    beta = 1.2**2
    assert rouge_l([[["a", "b", "c", "d"]]], [["b", "a"]])["rouge_l"] == pytest.approx(
        (1 + beta) * 0.5 * 0.25 / (0.25 + beta * 0.5), abs=1e-12
    )


def test_an_empty_caption_or_reference_scores_nothing_and_breaks_nothing():
    assert rouge_l([[["a", "cat"]]], [[]]) == {"rouge_l": 0.0}
    assert rouge_l([[[]]], [["a", "cat"]]) == {"rouge_l": 0.0}
    assert rouge_l([[[]]], [[]]) == {"rouge_l": 0.0}
    assert rouge_l([], []) == {"rouge_l": 0.0}


def test_the_order_of_pictures_and_references_changes_nothing():
    references, hypotheses = cut(REFERENCES, HYPOTHESES)
    rng = random.Random(0)
    for _ in range(5):
        order = rng.sample(range(len(hypotheses)), len(hypotheses))
        shuffled = [rng.sample(references[i], len(references[i])) for i in order]
        value = rouge_l(shuffled, [hypotheses[i] for i in order])["rouge_l"]
        assert value == pytest.approx(sum(GOLDEN) / len(GOLDEN), abs=1e-12)


def test_the_longest_common_subsequence_is_what_trying_all_finds():
    def subsequences(tokens):
        return {c for n in range(len(tokens) + 1) for c in itertools.combinations(tokens, n)}

    rng = random.Random(0)
    for _ in range(30):
        a, b = ([rng.choice("abc") for _ in range(rng.randint(0, 7))] for _ in range(2))
        assert _common(a, b) == _common(b, a) == max(map(len, subsequences(a) & subsequences(b)))


def test_unequal_lengths_and_missing_references_are_refused():
    with pytest.raises(ValueError, match="2 hypotheses, but references for 1"):
        rouge_l([[["a"]]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="at least one reference"):
        rouge_l([[["a"]], []], [["a"], ["b"]])
