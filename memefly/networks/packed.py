"""Captions whose words are known, packed: step after step, the captions that are not over yet and no others.

    >>> packed = Packed(tokens)                  # int (P, C, T)
    >>> words = words.embed(packed.ids(tokens))  # (N, E): what is read at the first step, at the second, …
    >>> (hiddens,) = packed.unroll(step, (words,), state, widths=[U])
    >>> packed.real_rows(hiddens)                # (R, U): of the tokens to predict, caption after caption

A picture's captions end one after the other. Where the longest come first, those that go on are its first ones, and a
step takes so many of every picture. Of Flickr8k's rows, 31 % are behind an end; in batches of 26 pictures this leaves
out 13 %. In any other order the result is the same, and a shorter caption before a longer one is dragged along.

Shapes: P pictures, C captions a picture, B = P * C captions, T tokens, S = T - 1 steps, N rows over all steps, R tokens
to predict (those of `tokens[..., 1:]` that are not padding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from memefly.text import PAD_ID


class Packed:
    def __init__(self, tokens: tf.Tensor):
        self._pictures, C, T = tf.unstack(tf.shape(tokens))
        P, B, S = self._pictures, self._pictures * C, T - 1
        real = tf.not_equal(tokens[..., 1:], PAD_ID)  # (P, C, S)
        place = tf.range(1, C + 1)  # of a caption among its picture's
        # How many captions of every picture go through a step: up to the last one that is not over.
        self.captions = tf.reduce_max(tf.where(real, place[:, tf.newaxis], 0), axis=[0, 1])  # (S,), never rising
        there = tf.broadcast_to((place <= self.captions[:, tf.newaxis])[:, tf.newaxis], [S, P, C])
        there = tf.reshape(there, [-1])
        self._chosen = tf.cast(tf.where(there)[:, 0], tf.int32)  # (N,), of S * B
        self._row = tf.reshape(tf.cumsum(tf.cast(there, tf.int32)) - 1, [S, B])
        self.real = tf.reshape(real, [B, S])
        self.picture = self._chosen % B // C  # (N,), whose each row is

    def ids(self, tokens: tf.Tensor) -> tf.Tensor:
        """What is read at each step: all tokens but the last, int (P, C, T) to (N,)."""
        return tf.gather(tf.reshape(tf.transpose(tokens[..., :-1], [2, 0, 1]), [-1]), self._chosen)

    def real_rows(self, x: tf.Tensor) -> tf.Tensor:
        """(N, width) to (R, width), in row-major order of (P, C, S)."""
        return tf.gather(x, tf.boolean_mask(tf.transpose(self._row), self.real))

    def dense(self, x: tf.Tensor) -> tf.Tensor:
        """(N, width) to (B, S, width); zero where there is no token."""
        row = tf.where(self.real, tf.transpose(self._row) + 1, 0)  # (B, S)
        return tf.gather(tf.pad(x, [[1, 0], [0, 0]]), row)

    def before(self, start: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
        """What each step starts from: the first state (B, U) and those after the steps (N, U) to (N, U)."""
        B = tf.shape(start)[0]
        rows = tf.concat([tf.range(B)[tf.newaxis], B + self._row[:-1]], axis=0)  # (S, B)
        return tf.gather(tf.concat([start, states], axis=0), tf.gather(tf.reshape(rows, [-1]), self._chosen))

    def unroll(
        self, step: Callable, inputs: Sequence[tf.Tensor], state: tuple[tf.Tensor, ...], widths: Sequence[int]
    ) -> list[tf.Tensor]:
        """Runs `step(inputs, state) -> (state, outputs)` from step to step: inputs (N, …) and the first state, tensors
        (B, U), to the outputs, each (N, width).

        Only what depends on the state belongs into `step`; the rest is done once for all steps, outside.
        """
        P, steps = self._pictures, tf.shape(self.captions)[0]

        def array(width: int) -> tf.TensorArray:
            return tf.TensorArray(tf.float32, steps, infer_shape=False, element_shape=[None, width])

        # Arrays, not slices: the gradient of a slice is as large as all of it, at every step.
        read = [array(x.shape[1]).split(x, P * self.captions) for x in inputs]

        def going_on(x: tf.Tensor, captions: tf.Tensor) -> tf.Tensor:
            width = x.shape[1]
            return tf.reshape(tf.reshape(x, [P, -1, width])[:, :captions], [-1, width])

        def body(t, state, arrays):
            state = tuple(going_on(s, self.captions[t]) for s in state)
            state, outs = step(tuple(array.read(t) for array in read), state)
            return t + 1, state, tuple(array.write(t, out) for array, out in zip(arrays, outs))

        arrays = tuple(array(width) for width in widths)
        *_, arrays = tf.while_loop(
            lambda t, *_: t < steps,
            body,
            (0, state, arrays),
            shape_invariants=(
                tf.TensorShape([]),
                tuple(tf.TensorShape([None, s.shape[1]]) for s in state),
                tuple(None for _ in arrays),
            ),
            maximum_iterations=steps,
        )
        return [array.concat() for array in arrays]
