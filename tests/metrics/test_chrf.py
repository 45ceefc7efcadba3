"""Golden values come from sacrebleu 2.6.0, divided by a hundred, as

    python -c "from sacrebleu.metrics import CHRF; print(CHRF().corpus_score(HYPOTHESES, REFERENCES_BY_PLACE).score)"

with the captions of `sentences.py`; pictures with fewer references than others have None in the places that they lack.
"""

import pytest
from sentences import HYPOTHESES, REFERENCES

from memefly.metrics import chrf, score

CORPORA = {
    "each its own": (REFERENCES, HYPOTHESES, 0.5542750896457339),
    "short": (REFERENCES, ["a man", "two dogs", "a child", "one"], 0.13318775550231407),
    "one caption for all": (REFERENCES, ["a man on a horse"] * 4, 0.1699732200445212),
    "one is empty": (REFERENCES, [HYPOTHESES[0], "", *HYPOTHESES[2:]], 0.43752737594896096),
    "a first reference": (REFERENCES, [group[0] for group in REFERENCES], 1.0),
    "single words": ([["cat"], ["dog", "a dog"], ["bird bird"]], ["cat", "dog", "bird"], 0.5680264767249443),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_golden_values(corpus):
    references, hypotheses, golden = CORPORA[corpus]
    assert score(references, hypotheses)["chrf"] == pytest.approx(golden, abs=1e-12)
    cut = [[r.split() for r in group] for group in references]
    assert chrf(cut, [h.split() for h in hypotheses]) == {"chrf": pytest.approx(golden, abs=1e-12)}


def test_a_plural_is_not_all_wrong():
    near, far = (score([["a red cat"]], [h]) for h in ("a red cats", "a red dog"))
    assert near["bleu1"] == far["bleu1"] and near["chrf"] > far["chrf"] + 0.2


def test_what_cannot_be_scored():
    assert chrf([], []) == {"chrf": 0.0} and chrf([[["a"]]], [[]]) == {"chrf": 0.0}
    with pytest.raises(ValueError, match="at least one reference"):
        chrf([[]], [["a"]])
    with pytest.raises(ValueError, match="2 hypotheses, but references for 1"):
        chrf([[["a"]]], [["a"], ["b"]])
