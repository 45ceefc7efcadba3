"""An encoder's graph made for serving: batch normalisation folded into the convolutions before it, and the matrix
products and convolutions in bfloat16 if that is asked for.

    >>> graph = InferenceGraph(encode.get_concrete_function())
    >>> graph(pictures)                          # the same features; half the variables, so it loads faster

Folding is exact but for rounding: scale * (W x) + shift = (scale * W) x + shift (Jacob et al., arXiv 1712.05877, 3.2).
In bfloat16, weights take half the space. Convolutions and what lies between them are computed in it, everything else in
float32, among it whatever this module does not know (Kalamkar et al., arXiv 1905.12322).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_CONVOLUTIONS = {"Conv2D": 3, "DepthwiseConv2dNative": 2}  # to the first of its kernel's axes that are of the output
# What is computed in bfloat16: what a convolution, or the way from one to the next, is made of.
_IN_BFLOAT16 = {
    *_CONVOLUTIONS, "MatMul", "BiasAdd", "AddV2", "Mul", "Relu", "Relu6", "Elu", "Sigmoid", "Tanh",
    "MaxPool", "AvgPool", "ConcatV2", "Pad", "FusedBatchNormV3",
}  # fmt: skip


class InferenceGraph(tf.Module):
    """A function of one float32 tensor to one tensor, with weights of its own.

    `weights` are its variables: float32, or bfloat16 where that is what is computed with.
    """

    def __init__(
        self,
        function: tf.types.experimental.ConcreteFunction,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ):
        super().__init__(name="encoder")
        (self.input_shape,), (self.output_shape,) = (
            [t.shape for t in ts] for ts in (function.inputs[:1], function.outputs)
        )
        frozen = convert_variables_to_constants_v2(function)
        (self._input,), (self._output,) = ([tensor.name for tensor in t] for t in (frozen.inputs, frozen.outputs))
        graph = frozen.graph.as_graph_def()
        nodes = _without_identities(graph.node, keep=self._output)
        nodes = _fold_batch_normalisation(nodes)
        if dtype == "bfloat16":
            nodes = _cast(nodes)
        weights = {n.name: n for n in nodes if n.op == "Const" and _is_weight(n)}
        self._names = [f"{name}:0" for name in weights]
        self.weights = [tf.Variable(_value(n), trainable=False, name=name) for name, n in weights.items()]
        self._graph = graph_pb2.GraphDef(
            node=[n for n in nodes if n.name not in weights and n.op != "Placeholder"],
            library=graph.library,
            versions=graph.versions,
        )

        spec = tf.TensorSpec(function.inputs[0].shape, function.inputs[0].dtype, name="pictures")
        self.function = tf.function(self._import, input_signature=[spec], autograph=False)

    def _import(self, tensor: tf.Tensor) -> tf.Tensor:
        feeds = {self._input: tensor} | {n: tf.convert_to_tensor(w) for n, w in zip(self._names, self.weights)}
        (result,) = tf.graph_util.import_graph_def(self._graph, feeds, return_elements=[self._output], name="")
        return result

    def __call__(self, tensor: tf.Tensor) -> tf.Tensor:
        return self.function(tensor)


_Nodes = list[node_def_pb2.NodeDef]


def _value(node: node_def_pb2.NodeDef) -> np.ndarray:
    return tf.make_ndarray(node.attr["value"].tensor)


def _is_weight(node: node_def_pb2.NodeDef) -> bool:
    """Kernels. Vectors, such as biases, stay in the graph: as variables they would be half of all that is loaded."""
    floating = tf.as_dtype(node.attr["dtype"].type).is_floating
    return floating and len(node.attr["value"].tensor.tensor_shape.dim) > 1


def _constant(name: str, value: np.ndarray, dtype: tf.DType = tf.float32) -> node_def_pb2.NodeDef:
    node = node_def_pb2.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = dtype.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype))
    return node


def _source(edge: str) -> str:
    """The node that an input comes from: `name`, `name:1` or `^name`."""
    return edge.removeprefix("^").partition(":")[0]


def _without_identities(nodes, keep: str) -> _Nodes:
    """Frozen variables are constants behind an Identity each."""
    through = {n.name: n.input[0] for n in nodes if n.op == "Identity" and n.name != _source(keep)}

    def origin(edge: str) -> str:
        while edge in through:
            edge = through[edge]
        return edge

    kept = []
    for node in nodes:
        if node.name in through or node.op == "NoOp":
            continue
        node = node_def_pb2.NodeDef.FromString(node.SerializeToString())
        node.input[:] = [origin(edge) for edge in node.input if not edge.startswith("^")]
        kept.append(node)
    return kept


def _fold_batch_normalisation(nodes: _Nodes) -> _Nodes:
    """BatchNorm(Conv(x, W)) becomes BiasAdd(Conv(x, scale * W), shift), where nothing else reads the convolution."""
    by_name = {node.name: node for node in nodes}
    readers = Counter(_source(edge) for node in nodes for edge in node.input)
    folded: dict[str, _Nodes] = {}
    for node in nodes:
        if node.op != "FusedBatchNormV3" or node.attr["is_training"].b:
            continue
        convolution, *parameters = (by_name.get(_source(edge)) for edge in node.input)
        if convolution is None or convolution.op not in _CONVOLUTIONS or readers[convolution.name] > 1:
            continue
        kernel = by_name[_source(convolution.input[1])]
        if any(p is None or p.op != "Const" for p in (kernel, *parameters)) or readers[kernel.name] > 1:
            continue
        gamma, beta, mean, variance = (_value(p).astype(np.float64) for p in parameters)
        scale = gamma / np.sqrt(variance + node.attr["epsilon"].f)
        W = _value(kernel)
        scaled = (W * scale.reshape(W.shape[_CONVOLUTIONS[convolution.op] :])).astype(np.float32)
        by_name[kernel.name].CopyFrom(_constant(kernel.name, scaled))
        bias = node_def_pb2.NodeDef(name=node.name, op="BiasAdd", input=[convolution.name, f"{node.name}/shift"])
        bias.attr["T"].CopyFrom(node.attr["T"])
        bias.attr["data_format"].CopyFrom(node.attr["data_format"])
        shift = _constant(f"{node.name}/shift", (beta - mean * scale).astype(np.float32))
        folded[node.name] = [shift, bias]
    kept = [new for node in nodes for new in folded.get(node.name, [node])]
    read = {_source(edge) for node in kept for edge in node.input}
    return [node for node in kept if node.op != "Const" or node.name in read]


def _typed_inputs(node: node_def_pb2.NodeDef) -> Iterator[int]:
    """The places of the inputs whose type is the operation's own, `T`."""
    place = 0
    for argument in op_def_registry.get(node.op).input_arg:
        count = node.attr[argument.number_attr].i if argument.number_attr else 1
        if argument.type_attr == "T":
            yield from range(place, place + count)
        place += count


def _cast(nodes: _Nodes) -> _Nodes:
    """In bfloat16 what may be, with a Cast on each edge in and out of it; constants are cast here."""
    low = {n.name for n in nodes if n.op in _IN_BFLOAT16 and n.attr["T"].type == tf.float32.as_datatype_enum}
    by_name = {node.name: node for node in nodes}
    added: dict[str, node_def_pb2.NodeDef] = {}

    def as_type(edge: str, dtype: tf.DType) -> str:
        source = by_name[_source(edge)]
        name = f"{edge.replace(':', '_')}/as_{dtype.name}"
        if name not in added and source.op == "Const":
            added[name] = _constant(name, _value(source), dtype)
        elif name not in added:
            cast = node_def_pb2.NodeDef(name=name, op="Cast", input=[edge])
            cast.attr["SrcT"].type = (tf.float32 if dtype == tf.bfloat16 else tf.bfloat16).as_datatype_enum
            cast.attr["DstT"].type = dtype.as_datatype_enum
            added[name] = cast
        return name

    for node in nodes:
        typed = set(_typed_inputs(node)) if node.name in low else set()
        for i, edge in enumerate(node.input):
            # Of those in bfloat16, only the first output is: batch normalisation's others are statistics.
            comes_low = _source(edge) in low and edge.partition(":")[2] in ("", "0")
            if (i in typed) != comes_low:
                node.input[i] = as_type(edge, tf.bfloat16 if i in typed else tf.float32)
        if node.name in low:
            node.attr["T"].type = tf.bfloat16.as_datatype_enum
    kept = [*nodes, *added.values()]
    read = {_source(edge) for node in kept for edge in node.input}
    return [node for node in kept if node.op != "Const" or node.name in read]
