"""Golden values come from pycocoevalcap 1.2 (its `Bleu(4)`), as

    python -c "from pycocoevalcap.bleu.bleu import Bleu; print(Bleu(4).compute_score(REFERENCES, HYPOTHESES)[0])"

with the captions of `sentences.py`, by index.
"""

import pytest
from sentences import HYPOTHESES, REFERENCES

from memefly.metrics import bleu, score
from memefly.metrics.bleu import BleuStatistics, closest_length

GOLDEN = [0.7414235211643465, 0.6624281506818599, 0.5500711416953603, 0.43418904115752927]
SHORT_GOLDEN = [0.04978706835363906, 0.049787068348897436, 0.000497870683528488, 4.978706835482447e-05]


def test_golden_values():
    scores = score(REFERENCES, HYPOTHESES)
    assert [scores[f"bleu{n}"] for n in range(1, 5)] == pytest.approx(GOLDEN, abs=1e-12)


def test_brevity_penalty_golden_values():
    scores = score(REFERENCES, ["a man", "two dogs", "a child", "one"])
    assert [scores[f"bleu{n}"] for n in range(1, 5)] == pytest.approx(SHORT_GOLDEN, abs=1e-12)


def test_perfect_is_one_and_nothing_right_is_nothing():
    perfect = score(REFERENCES, [group[0] for group in REFERENCES])
    assert all(perfect[f"bleu{n}"] == pytest.approx(1.0) for n in range(1, 5))
    assert score([["a b c d e"]], ["v w x y z"])["bleu1"] == pytest.approx(0.0, abs=1e-9)


def test_counts_are_clipped_by_the_best_single_reference():
    statistics = BleuStatistics.of([["the", "cat"], ["the", "the", "dog"]], ["the"] * 5)
    assert statistics.matches[0] == 2
    assert statistics.totals == (5, 4, 3, 2)


@pytest.mark.parametrize(("lengths", "length", "closest"), [([3, 9], 5, 3), ([4, 6], 5, 4), ([7, 7], 1, 7)])
def test_closest_reference_length_prefers_the_shorter(lengths, length, closest):
    assert closest_length(lengths, length) == closest


def test_halves_add_up_to_the_whole():
    pairs = [([r.split() for r in group], h.split()) for group, h in zip(REFERENCES, HYPOTHESES)]
    whole = sum((BleuStatistics.of(*pair) for pair in pairs), BleuStatistics())
    halves = BleuStatistics.of(*pairs[3]) + (BleuStatistics.of(*pairs[1]) + BleuStatistics.of(*pairs[0]))
    assert halves + BleuStatistics.of(*pairs[2]) == whole


def test_an_empty_caption_scores_nothing_and_breaks_nothing():
    assert bleu([[["a", "cat"]]], [[]])["bleu4"] == pytest.approx(0.0, abs=1e-9)


def test_unequal_lengths_and_missing_references_are_refused():
    with pytest.raises(ValueError, match="2 hypotheses, but references for 1"):
        bleu([[["a"]]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="at least one reference"):
        bleu([[]], [["a"]])
