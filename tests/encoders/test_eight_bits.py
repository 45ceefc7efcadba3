"""Features in eight bits: how far off they are, and that a graph rounds as the store does."""

import numpy as np
import pytest

from memefly.encoders import eight_bits

SHAPE = (3, 4, 50)


def features(kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-4, 3, SHAPE[-1])  # as channels of an encoder differ
    x = rng.standard_normal(SHAPE) * scale
    return {"rectified": np.maximum(x, 0), "signed": x, "flat": np.broadcast_to(scale, SHAPE)}[kind].astype(np.float16)


@pytest.mark.parametrize("kind", ["rectified", "signed", "flat"])
def test_half_a_step_is_lost_at_most(kind):
    x = features(kind)
    content = eight_bits.pack(x)
    assert len(content) == eight_bits.size(SHAPE) == 3 * 4 * 50 + 4 * 50
    found = eight_bits.unpack(content, SHAPE)
    assert found.dtype == np.float16 and found.shape == SHAPE
    exact = x.astype(np.float64)
    step = (exact.max((0, 1)) - exact.min((0, 1))) / 255
    off = np.abs(found.astype(np.float64) - exact)
    assert (off <= step / 2 + np.spacing(np.abs(x).max((0, 1))).astype(np.float64)).all()
    # A channel's extremes are kept as they are; so is 0, where nothing is below it.
    np.testing.assert_array_equal(found.max((0, 1)), x.max((0, 1)))
    np.testing.assert_array_equal(found.min((0, 1)), x.min((0, 1)))
    if kind == "rectified":
        assert (found[x == 0] == 0).all() and (x == 0).any()
    # And what was rounded once is rounded to itself.
    assert eight_bits.unpack(eight_bits.pack(found), SHAPE).tobytes() == found.tobytes()


@pytest.mark.parametrize("kind", ["rectified", "signed", "flat"])
def test_a_graph_rounds_each_picture_as_the_store_does(kind):
    import tensorflow as tf

    pictures = np.stack([features(kind, seed) for seed in range(4)])
    stored = np.stack([eight_bits.unpack(eight_bits.pack(one), SHAPE) for one in pictures])
    graph = tf.function(eight_bits.rounded, input_signature=[tf.TensorSpec([None, *SHAPE], tf.float16)])
    for found in (graph(pictures).numpy(), eight_bits.rounded(pictures).numpy()):
        assert found.dtype == np.float16 and found.tobytes() == stored.tobytes()


def test_what_is_no_number_stays_none():
    x = features("signed")
    x[1, 1, 7] = np.nan
    found = eight_bits.unpack(eight_bits.pack(x), SHAPE)
    assert np.isnan(found[..., 7]).all() and np.isfinite(np.delete(found, 7, axis=-1)).all()
