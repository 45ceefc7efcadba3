"""What TensorFlow Serving takes and gives over gRPC, without TensorFlow: the part of its protos that captions need.

    >>> asked = request("Predict", "captioner", "stable", "serving_default", {"image_bytes": strings([data])})
    >>> outputs(unary(channel, "Predict")(asked, timeout=10))["captions"]

Field numbers are those of tensor.proto (tensorflow/core/framework), and of predict.proto, model.proto and
get_model_metadata.proto (tensorflow_serving/apis). They live in a pool of their own: TensorFlow's may be there too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tensorflow.serving"
_SERVICE = f"/{_PACKAGE}.PredictionService/"
_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    name: getattr(_FIELD, f"TYPE_{name.upper()}") for name in ("int32", "int64", "float", "double", "bytes", "string")
}
# A map travels as its entries. By message: field number, name, and type; a star is for repeated ones.
_MESSAGES = {
    "Dim": [(1, "size", "int64")],
    "TensorShape": [(2, "dim", "Dim*")],
    "Tensor": [
        *((1, "dtype", "int32"), (2, "tensor_shape", "TensorShape"), (4, "tensor_content", "bytes")),
        *((5, "float_val", "float*"), (6, "double_val", "double*"), (7, "int_val", "int32*")),
        *((8, "string_val", "bytes*"), (10, "int64_val", "int64*")),
    ],
    "Named": [(1, "key", "string"), (2, "value", "Tensor")],
    "Version": [(1, "value", "int64")],
    "ModelSpec": [
        *((1, "name", "string"), (2, "version", "Version")),
        *((3, "signature_name", "string"), (4, "version_label", "string")),
    ],
    "PredictRequest": [(1, "model_spec", "ModelSpec"), (2, "inputs", "Named*"), (3, "output_filter", "string*")],
    "PredictResponse": [(1, "outputs", "Named*"), (2, "model_spec", "ModelSpec")],
    "GetModelMetadataRequest": [(1, "model_spec", "ModelSpec"), (2, "metadata_field", "string*")],
    "GetModelMetadataResponse": [(1, "model_spec", "ModelSpec")],
}
# DataType of tensorflow/core/framework/types.proto, and where a tensor holds its values if not in `tensor_content`.
_STRING = 7
_TYPES = {
    1: ("float_val", np.float32),
    2: ("double_val", np.float64),
    3: ("int_val", np.int32),
    9: ("int64_val", np.int64),
}
_MOST = 1 << 24  # values of a tensor: one that is written once may stand for as many as its shape says


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="memefly/wire.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            one = message.field.add(name=field, number=number)
            one.label = _FIELD.LABEL_REPEATED if kind.endswith("*") else _FIELD.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _KINDS:
                one.type = _KINDS[kind]
            else:
                one.type, one.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return {name: made(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


_CLASSES = _classes()


def request(
    method: str, model: str, label: str | None, signature: str = "", inputs: Mapping[str, np.ndarray] | None = None
) -> Any:
    """Of `Predict` or `GetModelMetadata`, to a model's version that a label is on, or to its newest one."""
    message = _CLASSES[f"{method}Request"]()
    message.model_spec.name, message.model_spec.signature_name = model, signature
    if label:
        message.model_spec.version_label = label
    for name, value in (inputs or {}).items():
        message.inputs.add(key=name).value.CopyFrom(_tensor(value))
    if method == "GetModelMetadata":
        message.metadata_field.append("signature_def")
    return message


def unary(channel, method: str) -> Callable[..., Any]:
    """The call of a method, over a channel of grpc."""
    return channel.unary_unary(
        _SERVICE + method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=_CLASSES[f"{method}Response"].FromString,
    )


def outputs(response: Any) -> dict[str, np.ndarray]:
    """Of `Predict`, by name; strings are bytes in arrays of objects. Raises ValueError for what is no array."""
    return {one.key: _array(one.value) for one in response.outputs}


def strings(values: Sequence[bytes]) -> np.ndarray:
    """As numpy keeps them whole."""
    return np.array([*values, None], dtype=object)[:-1]


def _tensor(value: np.ndarray) -> Any:
    tensor = _CLASSES["Tensor"]()
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    if value.dtype == object:
        tensor.dtype = _STRING
        tensor.string_val.extend(value.ravel().tolist())
        return tensor
    tensor.dtype = next(number for number, (_, kind) in _TYPES.items() if kind == value.dtype)
    tensor.tensor_content = value.tobytes()
    return tensor


def _array(tensor: Any) -> np.ndarray:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if math.prod(shape) > _MOST:
        raise ValueError(f"a tensor of shape {shape}, larger than any that memefly has")
    if tensor.dtype == _STRING:
        values = strings(tensor.string_val)
    elif tensor.dtype in _TYPES:
        field, kind = _TYPES[tensor.dtype]
        values = (
            np.frombuffer(tensor.tensor_content, kind) if tensor.tensor_content else np.array(getattr(tensor, field))
        )
        values = values.astype(kind, copy=False)
    else:
        raise ValueError(f"a tensor of type {tensor.dtype}, which no signature of memefly has")
    if values.size == 1:  # one value may stand for all of them
        return np.broadcast_to(values, shape).copy()
    return values.reshape(shape)
