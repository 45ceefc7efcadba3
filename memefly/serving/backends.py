"""Where captions come from: a model in this process, or TensorFlow Serving over gRPC.

    >>> backend = LocalModel("root/serving/captioner")
    >>> backend = TensorFlowServing("localhost:8500", label="stable")
    >>> backend.caption(picture.data, {"beam": 5})      # [Caption("a cat on a mat", -0.41), …], best first

Both take pictures that `memefly.images.canonical` passed: they are checked before they share a batch with others.

gRPC and not REST: there TensorFlow Serving fills in the knobs that a request leaves out, while REST wants every input
of a signature; and pictures travel as bytes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from memefly.errors import BackendError, BusyError, ModelError, PictureError, UnsafeError
from memefly.exported.captions import Caption, Reader, reader
from memefly.exported.manifest import MODEL_NAME
from memefly.exported.warmup import LARGEST_BATCH
from memefly.serving.batching import Batcher


@dataclass(frozen=True)
class Status:
    """Whether there is a model that answers, and which."""

    ready: bool
    version: int | None
    detail: str


class Backend(Protocol):
    def caption(self, data: bytes, knobs: dict[str, Any]) -> list[Caption]:
        """A picture's captions, best first; `knobs` of `memefly.decoding` that differ from the model's own, and a
        `prefix` that captions begin with. Raises
        `PictureError` where the graph cannot decode it, `UnsafeError` where none of its captions may be said,
        `ModelError` where a knob cannot be so, `BusyError` and `BackendError` where no answer comes. Called from many
        threads."""

    def status(self) -> Status: ...

    def close(self) -> None: ...


class LocalModel:
    """An exported model in this process; pictures without knobs of their own go through it in batches."""

    def __init__(self, folder: str | Path, largest_batch: int = LARGEST_BATCH):
        from memefly.exported import loading

        self._model = loading.load(folder)
        self._model.warm_up()
        self._batcher = Batcher(self._model.predict, largest_batch)
        self._alone = threading.Lock()  # a picture with knobs of its own: one at a time, so that memory is bounded

    def caption(self, data: bytes, knobs: dict[str, Any]) -> list[Caption]:
        if knobs:
            with self._alone:
                row = {name: values[0] for name, values in self._model.answer([data], knobs).items()}
        else:
            row = self._batcher.submit(data).result()
        return _captions(row["captions"], row["scores"], row["error"], self._model.read)

    def status(self) -> Status:
        version = self._model.manifest.get("version")
        if not self._batcher.alive:
            return Status(False, version, "the thread that calls the model has ended; start the server again")
        return Status(True, version, f"{self._model.folder}, in this process")

    def close(self) -> None:
        self._batcher.close()


class TensorFlowServing:
    """A server's model `captioner`, by its label where one is given. One picture a request: the server batches.

    Its `memefly.json` does not come over the wire: what the search in its graph keeps from is never said, and no more
    is asked of its captions."""

    def __init__(self, address: str, label: str | None = None, timeout: float = 10.0):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._address, self._label, self._timeout = address.removeprefix("grpc://"), label, timeout
        self._channel = grpc.insecure_channel(
            self._address, options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        )
        self._read = reader({"config": {}})
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def caption(self, data: bytes, knobs: dict[str, Any]) -> list[Caption]:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        from memefly.decoding import KNOBS, PREFIX

        request = predict_pb2.PredictRequest()
        self._address_model(request.model_spec)
        request.model_spec.signature_name = "decode" if knobs else "serving_default"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([data], tf.string))
        for name, value in knobs.items():  # those left out have the model's own values (TensorFlow Serving 2.14 on)
            kind = tf.string if name == PREFIX else KNOBS[name]
            request.inputs[name].CopyFrom(tf.make_tensor_proto([value], kind))
        outputs = self._call(self._stub.Predict, request).outputs
        captions, scores, error = (tf.make_ndarray(outputs[name])[0] for name in ("captions", "scores", "error"))
        return _captions(captions, scores, error, self._read)

    def status(self) -> Status:
        """Of the version that the label is on: the model's status alone tells of all versions."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address_model(request.model_spec)
        try:
            version = self._call(self._stub.GetModelMetadata, request).model_spec.version.value
        except (BackendError, BusyError, ModelError) as error:
            return Status(False, None, str(error))
        label = f" ({self._label})" if self._label else ""
        return Status(True, version, f"version {version}{label} of TensorFlow Serving at {self._address}")

    def close(self) -> None:
        self._channel.close()

    def _address_model(self, spec) -> None:
        spec.name = MODEL_NAME
        if self._label:
            spec.version_label = self._label

    def _call(self, method, request):
        import grpc

        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            told = f"TensorFlow Serving at {self._address}: {error.details() or error.code().name}"
            # A full batching queue says UNAVAILABLE too, but the channel is up then.
            busy = error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED or "queue" in (error.details() or "").lower()
            if busy:
                raise BusyError(told) from None
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT and "label" not in (error.details() or ""):
                raise ModelError(told) from None
            raise BackendError(told) from None


def _captions(captions: np.ndarray, scores: np.ndarray, error: bytes, read: Reader) -> list[Caption]:
    if error:
        raise PictureError("not_a_picture", error.decode("utf-8"))
    found = read(captions, scores)
    if not found:
        raise UnsafeError
    return found
