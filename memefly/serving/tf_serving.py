"""TensorFlow Serving as a back end, over gRPC or REST; needs no TensorFlow here.

    >>> backend = TensorFlowServing("localhost:8500", label="stable")
    >>> backend = TensorFlowServing("http://localhost:8501", models=Path("root/serving"))

One picture a request: the server batches. gRPC is the better way where there is one: pictures travel as bytes, the
server fills in the knobs that a request leaves out, and says which version answered. REST (`http://`) wants every input
of a signature, so knobs need `models`, which says what the model's own are; there each request names the version that
the label is on, which is asked for every second.

`memefly.json` does not come over the wire. With `models`, the pipeline's ROOT/serving, it is read from there: for its
digest, its knobs, and what of captions is asked beside what the search in the graph keeps from.
"""

from __future__ import annotations

import base64
import functools
import json
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from memefly.decoding_config import KINDS, PREFIX
from memefly.errors import BackendError, BusyError, ModelError
from memefly.exported.captions import Looked, Reader, looked, reader
from memefly.exported.manifest import MODEL_NAME, read_manifest
from memefly.serving import wire
from memefly.serving.backends import Answer, Model, Status, answered, model_of

_FRESH = 1.0  # seconds for which the version that a label is on is taken for granted, over REST
_DTYPES = {int: np.int32, float: np.float32}


class _Wire(Protocol):
    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int | None]:
        """Outputs, and the version that answered."""

    def version(self) -> int: ...

    def close(self) -> None: ...


class TensorFlowServing:
    """A server's model `captioner`, by its label where one is given. `timeout` in seconds, of each request."""

    def __init__(self, address: str, label: str | None = None, timeout: float = 10.0, models: Path | None = None):
        self._address, self._label, self._models = address, label, models
        is_rest = address.startswith(("http://", "https://"))
        self._wire: _Wire = _Rest(address, label, timeout) if is_rest else _Grpc(address, label, timeout)
        self._is_rest = is_rest
        self._read = functools.lru_cache(maxsize=8)(read_manifest)  # what could not be read is tried again

    def caption(self, data: bytes, knobs: dict[str, Any]) -> Answer:
        inputs = {"image_bytes": wire.strings([data])}
        if knobs:
            inputs |= self._inputs(knobs)
        outputs, version = self._wire.predict("decode" if knobs else "serving_default", inputs)
        manifest = self._manifest(version)
        try:
            row = {name: outputs[name][0] for name in ("captions", "scores", "error")}
        except (KeyError, IndexError, TypeError):
            raise BackendError(f"TensorFlow Serving at {self._address}: its answer has no captions") from None
        return answered(row, _reader(manifest), model_of(manifest, version))

    def look(self, data: bytes, caption: str) -> Looked:
        inputs = {"image_bytes": wire.strings([data]), "caption": wire.strings([caption.encode()])}
        outputs, _ = self._wire.predict("look", inputs)
        try:
            return looked(outputs["tokens"][0], outputs["alphas"][0])
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            raise BackendError(f"TensorFlow Serving at {self._address}: its answer has no tokens and alphas") from None

    def status(self) -> Status:
        """Of the version that the label is on: the model's status alone tells of all versions."""
        try:
            version = self._wire.version()
        except (BackendError, BusyError, ModelError) as error:
            return Status(False, Model(None), str(error))
        label = f" ({self._label})" if self._label else ""
        detail = f"version {version}{label} of TensorFlow Serving at {self._address}"
        return Status(True, model_of(self._manifest(version), version), detail)

    def close(self) -> None:
        self._wire.close()

    def _inputs(self, knobs: dict[str, Any]) -> dict[str, np.ndarray]:
        values = dict(knobs)
        if self._is_rest:  # which takes no defaults
            own = self._manifest(self._wire.version()).get("config", {}).get("decoding")
            if own is None:
                raise ModelError(
                    "over REST, knobs need the folder of models (--models), which says what the others are"
                )
            values = {**{name: own[name] for name in KINDS if name in own}, PREFIX: "", **values}
        begin = values.pop(PREFIX, None)
        inputs = {name: np.array([value], _DTYPES[KINDS[name]]) for name, value in values.items()}
        return inputs | ({} if begin is None else {PREFIX: wire.strings([begin.encode()])})

    def _manifest(self, version: int | None) -> dict[str, Any]:
        if self._models is None or version is None:
            return {"config": {}}
        try:
            return self._read(self._models / MODEL_NAME / str(version))
        except ModelError:  # it may be gone, and the server has it loaded still
            return {"config": {}}


def _reader(manifest: dict[str, Any]) -> Reader:
    key = json.dumps(manifest.get("config", {}).get("safety"), sort_keys=True)
    return _readers(key)


@functools.lru_cache(maxsize=8)
def _readers(safety: str) -> Reader:
    return reader({"config": {"safety": json.loads(safety)}})


class _Grpc:
    def __init__(self, address: str, label: str | None, timeout: float):
        import grpc

        self._address, self._label, self._timeout = address.removeprefix("grpc://"), label, timeout
        # A server that comes back is found again within a second or two, not after minutes of waiting ever longer.
        options = [
            *(("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)),
            *(("grpc.initial_reconnect_backoff_ms", 250), ("grpc.max_reconnect_backoff_ms", 2000)),
        ]
        self._channel = grpc.insecure_channel(self._address, options=options)
        self._calls = {name: wire.unary(self._channel, name) for name in ("Predict", "GetModelMetadata")}

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int | None]:
        response = self._call("Predict", wire.request("Predict", MODEL_NAME, self._label, signature, inputs))
        try:
            return wire.outputs(response), response.model_spec.version.value or None
        except ValueError as error:
            raise BackendError(f"TensorFlow Serving at {self._address}: {error}") from None

    def version(self) -> int:
        asked = wire.request("GetModelMetadata", MODEL_NAME, self._label)
        return self._call("GetModelMetadata", asked).model_spec.version.value

    def close(self) -> None:
        self._channel.close()

    def _call(self, name: str, request: Any) -> Any:
        import grpc

        try:
            return self._calls[name](request, timeout=self._timeout)
        except grpc.RpcError as error:
            said = error.details() or error.code().name
            told = f"TensorFlow Serving at {self._address}: {said}"
            # A full batching queue says UNAVAILABLE too, but the channel is up then.
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED or "queue" in said.lower():
                raise BusyError(told) from None
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT and "label" not in said:
                raise ModelError(told) from None
            raise BackendError(told) from None


class _Rest:
    """https://www.tensorflow.org/tfx/serving/api_rest"""

    def __init__(self, address: str, label: str | None, timeout: float):
        import urllib3

        self._base, self._label = f"{address.rstrip('/')}/v1/models/{MODEL_NAME}", label
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=64)
        self._lock = threading.Lock()
        self._known: tuple[int, float] | None = None  # a version, and until when it is taken for granted

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int | None]:
        version = self._labelled()
        body = {"signature_name": signature, "inputs": {name: _as_json(name, value) for name, value in inputs.items()}}
        try:
            said = self._ask("POST", f"{self._base}/versions/{version}:predict", body)
        except BackendError:  # it may have gone since it was asked for
            self._known = None
            if self._labelled() == version:
                raise
            return self.predict(signature, inputs)
        outputs = said.get("outputs")
        if not isinstance(outputs, dict):
            raise BackendError(f"TensorFlow Serving at {self._base}: its answer has no outputs")
        try:
            return {name: _of_json(value) for name, value in outputs.items()}, version
        except (ValueError, RecursionError) as error:
            raise BackendError(f"TensorFlow Serving at {self._base}: an output is no array ({error})") from None

    def version(self) -> int:
        self._known = None
        return self._labelled()

    def close(self) -> None:
        self._pool.clear()

    def _labelled(self) -> int:
        with self._lock:
            if self._known and self._known[1] > time.monotonic():
                return self._known[0]
            # The status of a label is that of all versions.
            of = f"{self._base}/labels/{self._label}" if self._label else self._base
            said = self._ask("GET", f"{of}/metadata")
            try:
                version = int(said["model_spec"]["version"])
            except (KeyError, TypeError, ValueError, OverflowError):
                raise BackendError(f"TensorFlow Serving at {of}: its answer tells of no version") from None
            self._known = (version, time.monotonic() + _FRESH)
            return version

    def _ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        import urllib3

        told = f"TensorFlow Serving at {url}"
        try:
            answer = self._pool.request(method, url, json=body)
            said = json.loads(answer.data)
        except (urllib3.exceptions.HTTPError, ValueError, RecursionError) as error:
            raise BackendError(f"{told}: {error}") from None
        if answer.status == 200 and isinstance(said, dict):
            return said
        why = str(said.get("error", "")) if isinstance(said, dict) else ""
        if answer.status in (429, 503) or "queue" in why.lower():
            raise BusyError(f"{told}: {why or answer.status}")
        if answer.status == 400 and "label" not in why:
            raise ModelError(f"{told}: {why}")
        raise BackendError(f"{told}: {why or answer.status}")


def _as_json(name: str, value: np.ndarray) -> list[Any]:
    if name == "image_bytes":
        return [{"b64": base64.b64encode(one).decode("ascii")} for one in value]
    return [one.decode("utf-8") for one in value] if value.dtype == object else value.tolist()


def _of_json(value: Any) -> np.ndarray:
    """As gRPC has it: texts are bytes."""

    def told(one: Any) -> Any:
        return [told(part) for part in one] if isinstance(one, list) else one.encode() if isinstance(one, str) else one

    array = np.array(value)
    if array.dtype.kind != "U":
        return array
    whole = np.array(told(value), dtype=object)
    return whole.reshape(array.shape)
