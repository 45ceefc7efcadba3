"""Golden values come from pycocoevalcap 1.2 (its `Cider`), as

    python -c "from pycocoevalcap.cider.cider import Cider; print(Cider().compute_score(REFERENCES, HYPOTHESES))"

with the captions of `sentences.py`, by index.
"""

import math
import random

import pytest
from sentences import HYPOTHESES, REFERENCES

from memefly.metrics import cider, score
from memefly.metrics.cider import CiderScorer

GOLDEN = [3.0965189639822315, 4.253815624107256, 1.115440000793038, 6.482067163114954]
CORPORA = {
    "each its own": (REFERENCES, HYPOTHESES, 3.73696043799937),
    "short": (REFERENCES, ["a man", "two dogs", "a child", "one"], 0.925201587183078),
    "one caption for all": (REFERENCES, ["a man on a horse"] * 4, 0.9342078679633264),
    "one is empty": (REFERENCES, [HYPOTHESES[0], "", *HYPOTHESES[2:]], 2.673506531972556),
    "a first reference": (REFERENCES, [group[0] for group in REFERENCES], 7.424832662375631),
    "single words": ([["cat"], ["dog", "a dog"], ["bird bird"]], ["cat", "dog", "bird"], 2.3624033222466205),
    "repeated words": ([["a a b"], ["a c"], ["a a"]], ["a a a b", "c a", "a"], 2.9411128608666814),
}


def cut(references, hypotheses):
    return [[r.split() for r in group] for group in references], [h.split() for h in hypotheses]


@pytest.mark.parametrize("corpus", CORPORA)
def test_golden_values(corpus):
    references, hypotheses, golden = CORPORA[corpus]
    assert cider(*cut(references, hypotheses)) == {"cider": pytest.approx(golden, abs=1e-12)}
    assert score(references, hypotheses)["cider"] == pytest.approx(golden, abs=1e-12)


def test_golden_values_of_single_pictures():
    references, hypotheses = cut(REFERENCES, HYPOTHESES)
    scorer = CiderScorer(references)
    assert [scorer.score(i, h) for i, h in enumerate(hypotheses)] == pytest.approx(GOLDEN, abs=1e-12)


def test_the_only_reference_said_again_is_ten():
    references = [["a", "red", "cat", "sits"], ["the", "dog", "runs", "home"]]
    assert cider([[r] for r in references], references)["cider"] == pytest.approx(10.0, abs=1e-12)


def test_a_difference_in_length_costs_what_the_gaussian_says():
    references = [[["a", "red", "cat", "sits"]], [["the", "dog"]]]
    # "z" is in no reference, so it has the weight log 2 as the others: every norm is known.
    longer = ["a", "red", "cat", "sits", "z", "z"]
    cosines = [4 / (2 * math.sqrt(8)), 3 / math.sqrt(3 * 5), 2 / math.sqrt(2 * 4), 1 / math.sqrt(1 * 3)]
    expected = 10 * sum(cosines) / 4 * math.exp(-(2**2) / (2 * 6**2))
    assert CiderScorer(references).score(0, longer) == pytest.approx(expected, abs=1e-12)


def test_words_that_every_picture_has_are_worth_nothing():
    references = [[["a", "cat"]], [["a", "dog"]]]
    scorer = CiderScorer(references)
    assert scorer.score(0, ["a"]) == 0.0
    assert scorer.score(0, ["cat"]) > 0.0


def test_one_picture_alone_scores_nothing():
    """Every n-gram is in every picture: pycocoevalcap says 0 too."""
    assert cider([[["a", "cat"]]], [["a", "cat"]]) == {"cider": 0.0}


def test_an_empty_caption_or_reference_scores_nothing_and_breaks_nothing():
    assert CiderScorer([[["a", "cat"]], [["a", "dog"]]]).score(0, []) == 0.0
    assert CiderScorer([[[]], [["a", "dog"]]]).score(0, ["a"]) == 0.0
    assert cider([], []) == {"cider": 0.0}


def test_the_order_of_pictures_and_references_changes_nothing():
    references, hypotheses = cut(REFERENCES, HYPOTHESES)
    rng = random.Random(0)
    for _ in range(5):
        order = rng.sample(range(len(hypotheses)), len(hypotheses))
        shuffled = CiderScorer([rng.sample(references[i], len(references[i])) for i in order])
        scores = [shuffled.score(new, hypotheses[old]) for new, old in enumerate(order)]
        assert scores == pytest.approx([GOLDEN[i] for i in order], abs=1e-12)


def test_tokens_may_be_ids():
    references, hypotheses = cut(REFERENCES, HYPOTHESES)
    words = sorted({w for group in references for r in group for w in r} | {w for h in hypotheses for w in h})
    ids = {word: i for i, word in enumerate(words)}
    scorer = CiderScorer([[[ids[w] for w in r] for r in group] for group in references])
    scores = [scorer.score(i, [ids[w] for w in h]) for i, h in enumerate(hypotheses)]
    assert scores == pytest.approx(GOLDEN, abs=1e-12)


def test_unequal_lengths_and_missing_references_are_refused():
    with pytest.raises(ValueError, match="2 hypotheses, but references for 1"):
        cider([[["a"]]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="0 hypotheses, but references for 1"):
        cider([[["a"]]], [])
    with pytest.raises(ValueError, match="at least one reference"):
        cider([[["a"]], []], [["a"], ["b"]])
