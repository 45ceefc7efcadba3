import random

import numpy as np
import pytest
from sentences import HYPOTHESES, REFERENCES

from memefly.metrics import Corpus, compare, intervals, score

METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "chrf")


def corpus(pictures: int, right: float, seed: int = 0) -> tuple[list, list]:
    """References, and captions whose words are right with that chance."""
    drawer, words = random.Random(seed), [f"w{i}" for i in range(60)]
    references = [[[drawer.choice(words) for _ in range(8)] for _ in range(2)] for _ in range(pictures)]
    drawer = random.Random(seed + 1000)
    captions = [[w if drawer.random() < right else drawer.choice(words) for w in group[0]] for group in references]
    return references, captions


def cut():
    return [[r.split() for r in group] for group in REFERENCES], [h.split() for h in HYPOTHESES]


def test_the_whole_corpus_is_what_score_says():
    told = Corpus.of(*cut()).score()
    assert set(told) == set(METRICS)
    assert told == {name: pytest.approx(score(REFERENCES, HYPOTHESES)[name], abs=1e-12) for name in METRICS}


def test_a_resampling_is_the_corpus_with_captions_repeated():
    references, hypotheses = cut()
    times = np.array([[2, 0, 1, 1], [1, 1, 1, 1]])
    drawn = Corpus.of(references, hypotheses).resampled(times.astype(float))
    indices = [0, 0, 2, 3]
    again = Corpus.of([references[i] for i in indices], [hypotheses[i] for i in indices]).score()
    for name in ("bleu1", "bleu4", "rouge_l", "chrf"):  # CIDEr's frequencies stay those of the whole
        assert drawn[name][0] == pytest.approx(again[name], abs=1e-12)
        assert drawn[name][1] == pytest.approx(score(REFERENCES, HYPOTHESES)[name], abs=1e-12)


@pytest.mark.once
@pytest.mark.slow
def test_intervals_cover_what_they_should():
    """Of many corpora from one source, about 95 in 100 have the source's own value within."""
    truth = Corpus.of(*corpus(1200, 0.7, seed=99)).score()
    held = dict.fromkeys(("bleu4", "rouge_l", "chrf"), 0)
    for seed in range(20):
        found = intervals(Corpus.of(*corpus(60, 0.7, seed)), samples=300)
        for name in held:
            held[name] += found[name].low <= truth[name] <= found[name].high
            assert found[name].low < found[name].high
    assert all(count >= 16 for count in held.values()), held


def test_paired_comparison_tells_better_from_noise():
    references, ours = corpus(150, 0.75)
    _, worse = corpus(150, 0.65)
    drawer = random.Random(5)
    alike = [list(c) for c in ours]
    for caption in alike:  # as many words changed for the better as for the worse, by chance
        if drawer.random() < 0.1:
            caption.reverse()
    a, b = Corpus.of(references, ours), Corpus.of(references, worse)
    better = compare(a, b)["bleu4"]
    assert better.value > 0 and better.low > 0 and better.p < 0.01
    assert compare(b, a)["bleu4"].high < 0
    same = compare(a, a)["bleu4"]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0) and same.p == 1.0
    _, other = corpus(150, 0.75, seed=0)
    halves = [x if i % 2 else y for i, (x, y) in enumerate(zip(ours, worse))]
    swapped = [y if i % 2 else x for i, (x, y) in enumerate(zip(ours, worse))]
    noise = compare(Corpus.of(references, halves), Corpus.of(references, swapped))["bleu4"]
    assert noise.low < 0 < noise.high and noise.p > 0.05
    assert other == ours


def test_the_paired_interval_is_narrower_than_two_of_their_own():
    """That is what pairing is for: both models find the same pictures hard."""
    references, ours = corpus(150, 0.7)
    drawer = random.Random(3)
    theirs = [c if drawer.random() < 0.8 else c[::-1] for c in ours]
    a, b = Corpus.of(references, ours), Corpus.of(references, theirs)
    paired, alone = compare(a, b)["bleu4"], intervals(a)["bleu4"]
    assert paired.high - paired.low < alone.high - alone.low


def test_seeded_and_refused():
    a = Corpus.of(*corpus(50, 0.7))
    assert intervals(a, seed=1) == intervals(a, seed=1) != intervals(a, seed=2)
    with pytest.raises(ValueError, match="at least two pictures, got 1"):
        intervals(Corpus.of([[["a"]]], [["a"]]))
    with pytest.raises(ValueError, match="on the same pictures"):
        compare(a, Corpus.of(*corpus(49, 0.7)))
    with pytest.raises(ValueError, match="1 hypotheses, but references for 2"):
        Corpus.of([[["a"]], [["b"]]], [["a"]])
    assert set(Corpus.of([], []).score().values()) == {0.0}
