import itertools

import numpy as np

from memefly.encoders.moments import Moments


def test_any_order_and_any_grouping_give_the_same_bits():
    rng = np.random.default_rng(0)
    pictures = [(rng.standard_normal((3, 3, 5)) * 10.0 ** rng.integers(-4, 4, 5)).astype(np.float16) for _ in range(64)]
    moments = [Moments.of(one) for one in pictures]
    told = set()
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(64)
        cuts = sorted({0, 64, *np.random.default_rng(seed).integers(0, 64, 5).tolist()})
        parts = [sum_of([moments[i] for i in order[a:b]]) for a, b in itertools.pairwise(cuts)]
        mean, std = sum_of(parts).mean_and_std()
        told.add(mean.tobytes() + std.tobytes())
    assert len(told) == 1
    everything = np.stack(pictures).astype(np.float64)
    np.testing.assert_allclose(mean, everything.mean((0, 1, 2)), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(std, everything.std((0, 1, 2)), rtol=1e-6)


def sum_of(moments):
    total, *others = moments
    for one in others:
        total = total + one
    return total


def test_the_largest_and_the_least_that_float16_holds():
    features = np.array([65504.0, -65504.0, 2**-24, 0.0], np.float16).reshape(1, 1, 4)
    total = sum_of([Moments.of(features)] * 1000)
    mean, std = total.mean_and_std()
    assert mean.tolist() == [65504.0, -65504.0, 2**-24, 0.0] and total.pictures == 1000
    assert std.tolist() == [1, 1, 1, 1], "a channel that never varies is only centred"
