"""The recurrent cell of every network: a GRU or an LSTM whose inputs are projected outside the loop where they can be.

    >>> cell = Cell(make, "gru", units=512, inputs={"word": 256})
    >>> state = cell.advance(cell.project("word", words), state)

GRU: Cho et al., arXiv 1406.1078, in the form that resets after the product, as cuDNN has it. LSTM: Hochreiter and
Schmidhuber 1997, its forget gate biased by 1 (Jozefowicz et al., ICML 2015).

Shapes: B captions, U units, G gates (3 of a GRU, 4 of an LSTM), N rows over all steps of a loop.
"""

from __future__ import annotations

import tensorflow as tf

from memefly.networks.packed import Packed
from memefly.networks.seeded import Initializer


class Cell(tf.Module):
    """State is a tuple of tensors (B, U): the hidden one first and, of an LSTM, the carried one."""

    def __init__(self, make: Initializer, kind: str, units: int, inputs: dict[str, int]):
        super().__init__(name="cell")
        self.kind, self.units, self.states = kind, units, {"gru": 1, "lstm": 2}[kind]
        self.gates = {"gru": 3, "lstm": 4}[kind] * units  # G * U
        self.kernels = {name: make.glorot(f"cell/{name}", [width, self.gates]) for name, width in inputs.items()}
        self.recurrent = make.orthogonal("cell/recurrent", units, self.gates // units)
        self.bias = make.zeros("cell/bias", [self.gates])
        self.recurrent_bias = make.zeros("cell/recurrent_bias", [self.gates])

    def start(self, flat: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """A state from (B, states * U)."""
        return tuple(tf.split(flat, self.states, axis=1)) if self.states > 1 else (flat,)

    def project(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """An input's share of the gates: (…, width) to (…, G * U)."""
        kernel = self.kernels[name]
        return x @ kernel if x.shape.rank == 2 else tf.tensordot(x, kernel, 1)

    def advance(self, inputs: tf.Tensor, recurrent: tf.Tensor, state: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        """One step. `inputs` (B, G * U): the sum of all projected inputs and `bias`; `recurrent` (B, G * U): the
        hidden state times `recurrent`, and `recurrent_bias`."""
        if self.kind == "gru":
            update_in, reset_in, new_in = tf.split(inputs, 3, axis=1)
            update_re, reset_re, new_re = tf.split(recurrent, 3, axis=1)
            update = tf.sigmoid(update_in + update_re)
            new = tf.tanh(new_in + tf.sigmoid(reset_in + reset_re) * new_re)
            return (new + update * (state[0] - new),)
        in_gate, forget, cell, out_gate = tf.split(inputs + recurrent, 4, axis=1)
        carried = _times(tf.sigmoid(forget + 1.0), state[1]) + _times(tf.sigmoid(in_gate), tf.tanh(cell))
        return (_times(tf.sigmoid(out_gate), tf.tanh(carried)), carried)


@tf.custom_gradient
def _times(a, b):
    """Elementwise product of one shape. TensorFlow's own gradient asks for both shapes, to undo a broadcast, and in a
    loop whose batch gets smaller TensorFlow 2.21's constant folding answers with that of the first step."""
    return a * b, lambda upstream: (upstream * b, upstream * a)


class Late:
    """A product x_t W of every step of a loop whose gradient for W is taken once, behind the loop.

    Inside a loop, each step's backward pass would add an outer product as large as W to a running sum: as much memory
    traffic as work. Here the loop sees W as a constant, and what it adds to x_t W carries the gradient instead:

        late = Late(kernel)
        offsets = late.watch(offsets)            # (N, out), of all steps; added to x_t W in step t
        ... the loop: y_t = late.product(x_t) + offsets_t ...
        late.inputs = xs                         # (N, in), known when the loop is done

    The gradient for `offsets` is that for every y_t, so W's is the one product of all x_t with all of it.
    """

    def __init__(self, kernel: tf.Tensor):
        self._kernel = tf.convert_to_tensor(kernel)
        self._constant = tf.stop_gradient(self._kernel)
        self._transposed = tf.transpose(self._constant)  # once, and not in every step's backward pass
        self.inputs: tf.Tensor | None = None

    def watch(self, offsets: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def watched(offsets, kernel):
            def gradient(upstream):
                return upstream, tf.linalg.matmul(self.inputs, upstream, transpose_a=True)

            return tf.identity(offsets), gradient

        return watched(offsets, self._kernel)

    def product(self, x: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def times(x):
            return x @ self._constant, lambda upstream: upstream @ self._transposed

        return times(x)


def unroll_plain(cell: Cell, gates: tf.Tensor, state: tuple[tf.Tensor, ...], packed: Packed) -> tf.Tensor:
    """A cell over inputs that are all known: their shares of the gates (N, G * U) to hidden states (N, U), the rows
    being those of `packed`."""
    late = Late(cell.recurrent)
    offsets = late.watch(tf.broadcast_to(cell.recurrent_bias, tf.shape(gates)))

    def step(inputs, state):
        gates, offset = inputs
        state = cell.advance(gates, late.product(state[0]) + offset, state)
        return state, (state[0],)

    (hiddens,) = packed.unroll(step, (gates + cell.bias, offsets), state, widths=[cell.units])
    late.inputs = packed.before(state[0], hiddens)
    return hiddens
