import numpy as np
import pytest

from memefly import ngrams
from memefly.metrics.kneser_ney import KneserNey
from memefly.text import END_ID, PAD_ID, START_ID

V = 12


def captions(n: int, seed: int = 0) -> list[list[int]]:
    """Words that follow one another more often than by chance."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        ids = [START_ID]
        while len(ids) < 9 and (len(ids) < 2 or rng.random() > 0.2):
            ids.append(4 + int(rng.choice([(ids[-1] * 3) % 8, rng.integers(8)], p=[0.7, 0.3])))
        found.append([*ids, END_ID])
    return found


def probabilities(tables: ngrams.Ngrams, history: list[int]) -> np.ndarray:
    """Of the next word, looked up as a graph does: float64 (V,)."""
    found = tables.first.astype(np.float64)
    buckets = len(tables.keys) // ngrams.SLOTS
    for key in ngrams.hashes(np.array(history)):
        places = int(key) % buckets * ngrams.SLOTS + np.arange(ngrams.SLOTS)
        for place in places[tables.keys[places] == key]:
            own = slice(tables.starts[place], tables.ends[place])
            found = found * tables.rests[place]
            np.add.at(found, tables.words[own], tables.shares[own])
    return found


@pytest.fixture
def everything(monkeypatch):
    """Nothing left out of the tables."""
    monkeypatch.setattr(ngrams, "_LEAST", (1,))
    monkeypatch.setattr(ngrams, "FOLLOWERS", (V,))


@pytest.mark.parametrize("order", [2, 3, 5])
def test_it_is_kneser_and_neys(order, everything):
    written = captions(60)
    tables = ngrams.count(written, V, order)
    exact = KneserNey([[str(i) for i in caption[1:-1]] for caption in written], order)
    names = {str(i): i for i in range(4, V)} | {"</s>": END_ID}
    assert set(names) | {"<unk>"} == exact.vocabulary
    for caption in captions(20, seed=1):
        padded = [START_ID] * (order - 2) + caption
        for place in range(order - 1, len(padded)):
            history = padded[place - order + 1 : place]
            before = ["<s>" if i == START_ID else str(i) for i in history]
            found = probabilities(tables, history)
            for name, i in names.items():
                # At the bottom all words are alike: here the nine that may come, and <unk>, as there.
                assert found[i] == pytest.approx(exact.probability(name, before), rel=1e-5)


@pytest.mark.parametrize("order", [2, 4])
def test_probabilities_add_up_to_one_whatever_is_left_out(order, monkeypatch):
    monkeypatch.setattr(ngrams, "FOLLOWERS", (3, 2))
    tables = ngrams.count(captions(80), V, order)
    assert (tables.ends - tables.starts).max() <= 3
    for history in np.random.default_rng(2).integers(1, V, [50, order - 1]):
        found = probabilities(tables, list(history))
        assert found.sum() == pytest.approx(1.0, abs=1e-5) and found[[PAD_ID, START_ID]].max() == 0.0


def test_of_long_ones_that_were_seen_once_none_is_kept():
    tables = ngrams.count([[START_ID, 5, 6, 7, END_ID], [START_ID, 5, 6, 8, END_ID]], V, 4)

    def kept(*history):
        return ngrams.hashes(np.array(history))[-1] in tables.keys

    assert not kept(START_ID, 5, 6), "7, or 8, once each"
    assert kept(START_ID, START_ID, 5), "6 twice"
    assert kept(5, 6) and kept(6), "what is shorter"


def test_a_caption_that_was_cut_does_not_run_into_the_next(everything):
    tables = ngrams.count([[START_ID, 5, 6], [START_ID, 7, 8, END_ID]], V, 2)
    after_6 = probabilities(tables, [6])
    assert after_6 == pytest.approx(probabilities(tables, [11])), "nothing was seen behind it"


def test_full_buckets_lose_the_least(monkeypatch, everything):
    monkeypatch.setattr(ngrams, "_FILLED", 4.0)
    written = captions(200)
    tables = ngrams.count(written, V, 4)
    assert len(tables.keys) == ngrams.SLOTS * ngrams._prime(len(tables.keys) // ngrams.SLOTS)
    assert probabilities(tables, [5, 6, 7]).sum() == pytest.approx(1.0, abs=1e-5)
    monkeypatch.setattr(ngrams, "_FILLED", 0.5)
    roomy = ngrams.count(written, V, 4)
    sizes, all_sizes = ((t.ends - t.starts)[t.ends > t.starts] for t in (tables, roomy))
    assert len(sizes) < len(all_sizes) and sizes.mean() > all_sizes.mean()


def test_what_is_refused():
    with pytest.raises(ValueError, match="order of 2 at least, got 1"):
        ngrams.count(captions(3), V, 1)
    with pytest.raises(ValueError, match="needs captions"):
        ngrams.count([], V, 3)
