import numpy as np
import tensorflow as tf

from memefly.networks.packed import Packed

TOKENS = tf.constant([[[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]], [[1, 9, 2, 0, 0], [0, 0, 0, 0, 0]]])  # (P, C, T)


def test_rows_are_of_the_captions_that_go_on():
    packed = Packed(TOKENS)
    np.testing.assert_array_equal(packed.captions, [2, 2, 1, 1])  # of each of two pictures
    np.testing.assert_array_equal(packed.ids(TOKENS), [1, 1, 1, 0, 5, 8, 9, 0, 6, 2, 7, 0])
    np.testing.assert_array_equal(packed.picture, [0, 0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1])


def test_order_changes_how_many_rows_there_are_and_not_which_are_returned():
    turned = TOKENS[:, ::-1]
    np.testing.assert_array_equal(Packed(turned).captions, [2, 2, 2, 2])
    for tokens in (TOKENS, turned):
        packed = Packed(tokens)
        read = packed.real_rows(packed.ids(tokens)[:, tf.newaxis])[:, 0]
        real = tokens[..., 1:] != 0
        np.testing.assert_array_equal(read, tf.boolean_mask(tokens[..., :-1], real))
        dense = packed.dense(packed.ids(tokens)[:, tf.newaxis])[..., 0]
        np.testing.assert_array_equal(dense, tf.reshape(tf.where(real, tokens[..., :-1], 0), [4, 4]))


def test_unroll_carries_each_captions_own_state():
    """Sums of what was read, in a graph: the state after a step is the sum up to it, before it the sum without it."""
    packed = Packed(TOKENS)
    start = tf.constant([[100.0], [200.0], [300.0], [400.0]])

    @tf.function(autograph=False)
    def run():
        read = tf.cast(packed.ids(TOKENS), tf.float32)[:, tf.newaxis]
        (sums,) = packed.unroll(lambda x, s: ((s[0] + x[0],), (s[0] + x[0],)), (read,), (start,), widths=[1])
        return packed.dense(sums)[..., 0], packed.dense(packed.before(start, sums))[..., 0]

    after, before = run()
    np.testing.assert_array_equal(after, [[101, 106, 112, 119], [201, 209, 0, 0], [301, 310, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(before, [[100, 101, 106, 112], [200, 201, 0, 0], [300, 301, 0, 0], [0, 0, 0, 0]])
