"""A stand-in for the parts of TensorFlow Serving that the contract tests need, where the server itself is not at hand.

It is not TensorFlow Serving: no batching, no warm-up, one model. What is real in it: the SavedModel, loaded by the
session loader whose C++ side TensorFlow Serving uses; `models.config`, read as its proto and polled, and refused where
it moves a label in use to a version that is not loaded; the protos of `tensorflow_serving.apis` over gRPC, where a
signature's defaults are filled in; and the documented rules of REST (https://www.tensorflow.org/tfx/serving/api_rest):
row and column format, every input given, {"b64": …} in, base64 out only where an output's name ends in `_bytes`, error
shapes.
"""

from __future__ import annotations

import base64
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
import uvicorn
from google.protobuf import text_format
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


class Refused(Exception):
    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


class Servable:
    """One version, in a session of its own."""

    def __init__(self, folder: Path):
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(folder))
        self.signatures = dict(meta.signature_def)

    def run(self, signature: str, inputs: dict[str, np.ndarray], defaults: bool = True) -> dict[str, np.ndarray]:
        if signature not in self.signatures:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature key "{signature}" not found.')
        told = self.signatures[signature]
        if defaults:
            inputs = {name: tf.make_ndarray(value) for name, value in told.defaults.items()} | inputs
        if set(inputs) != set(told.inputs):
            wrong = f"input size does not match signature: {len(inputs)}!={len(told.inputs)}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{wrong} {sorted(inputs)}")
        feeds = {told.inputs[name].name: value for name, value in inputs.items()}
        try:
            return self._session.run({name: info.name for name, info in told.outputs.items()}, feeds)
        except (tf.errors.OpError, ValueError) as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    def dtype(self, signature: str, name: str) -> np.dtype:
        return tf.dtypes.as_dtype(self.signatures[signature].inputs[name].dtype).as_numpy_dtype


class StandIn:
    """Serves what a `models.config` names, over REST and gRPC, until it is closed."""

    def __init__(self, config: Path, poll: float = 0.2):
        self._config, self._poll = config, poll
        self._versions: dict[int, Servable] = {}
        self._labels: dict[str, int] = {}
        self.refused: list[str] = []
        self._ended = threading.Event()
        self._load()
        self._poller = threading.Thread(target=self._watch, daemon=True)
        self._poller.start()
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(self), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._grpc)
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()
        self._rest = uvicorn.Server(uvicorn.Config(_rest(self), port=0, log_level="error"))
        self._thread = threading.Thread(target=self._rest.run, daemon=True)
        self._thread.start()
        while not self._rest.started:
            time.sleep(0.01)
        self.rest_url = f"http://127.0.0.1:{self._rest.servers[0].sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._ended.set()
        self._grpc.stop(0)
        self._rest.should_exit = True
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._poll):
            self._load()

    def _load(self) -> None:
        """Refuses, as the server does, to move a label in use to a version that is not loaded."""
        whole = text_format.Parse(self._config.read_text(), model_server_config_pb2.ModelServerConfig())
        (config,) = whole.model_config_list.config
        for label, version in config.version_labels.items():
            if self._labels.get(label, version) != version and version not in self._versions:
                self.refused.append(f"label {label} to version {version}, which is not available")
                return
        wanted = list(config.model_version_policy.specific.versions)
        for version in wanted:
            if version not in self._versions:
                self._versions[version] = Servable(Path(config.base_path) / str(version))
        self._labels = dict(config.version_labels)
        for version in set(self._versions) - set(wanted):
            del self._versions[version]

    def status(self, model: str) -> dict[int, int]:
        self._known(model)
        return dict.fromkeys(self._versions, AVAILABLE)

    def find(self, model: str, version: int | None = None, label: str | None = None) -> tuple[int, Servable]:
        self._known(model)
        if label is not None:
            if label not in self._labels:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
            version = self._labels[label]
        version = max(self._versions) if version is None else version
        if version not in self._versions:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({model}, {version})")
        return version, self._versions[version]

    @staticmethod
    def _known(model: str) -> None:
        if model != "captioner":
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {model}")


# --- gRPC ---------------------------------------------------------------------------------------------------------


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, server: StandIn):
        self._server = server

    def Predict(self, request, context):
        spec = request.model_spec
        try:
            label = spec.version_label if spec.WhichOneof("version_choice") == "version_label" else None
            wanted = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
            version, servable = self._server.find(spec.name, wanted, label)
            signature = spec.signature_name or "serving_default"
            outputs = servable.run(signature, {k: tf.make_ndarray(v) for k, v in request.inputs.items()})
        except Refused as refused:
            context.abort(refused.code, str(refused))
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.signature_name = spec.name, signature
        response.model_spec.version.value = version
        for name in request.output_filter or outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def GetModelMetadata(self, request, context):
        spec = request.model_spec
        try:
            label = spec.version_label if spec.WhichOneof("version_choice") == "version_label" else None
            version, servable = self._server.find(spec.name, None, label)
        except Refused as refused:
            context.abort(refused.code, str(refused))
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = spec.name, version
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
        response.metadata["signature_def"].Pack(signatures)
        return response


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, server: StandIn):
        self._server = server

    def GetModelStatus(self, request, context):
        response = get_model_status_pb2.GetModelStatusResponse()
        try:
            found = self._server.status(request.model_spec.name)
            if request.model_spec.WhichOneof("version_choice") == "version":
                version = request.model_spec.version.value
                found = {self._server.find(request.model_spec.name, version)[0]: AVAILABLE}
            for version, state in found.items():
                response.model_version_status.add(version=version, state=state)
        except Refused as refused:
            context.abort(refused.code, str(refused))
        return response


# --- REST ---------------------------------------------------------------------------------------------------------

_STATUS = {grpc.StatusCode.NOT_FOUND: 404, grpc.StatusCode.INVALID_ARGUMENT: 400}


def _rest(server: StandIn) -> Starlette:
    def answer(function):
        def endpoint(request: Request, body: dict | None):
            parameters = request.path_params
            version = int(parameters["version"]) if "version" in parameters else None
            try:
                return JSONResponse(function(parameters["model"], version, parameters.get("label"), body))
            except Refused as refused:
                return JSONResponse({"error": str(refused)}, _STATUS[refused.code])

        return endpoint

    def status(model, version, label, body):
        found = server.status(model)  # of all versions, whatever the label
        if version is not None:
            found = {server.find(model, version)[0]: AVAILABLE}
        return {
            "model_version_status": [
                {"version": str(v), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
                for v in sorted(found, reverse=True)
            ]
        }

    def predict(model, version, label, body):
        _, servable = server.find(model, version, label)
        signature = body.get("signature_name", "serving_default")
        if ("instances" in body) == ("inputs" in body):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key")
        if signature not in servable.signatures:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature key "{signature}" not found.')
        columns = body["inputs"] if "inputs" in body else _columns(body["instances"], servable, signature)
        if not isinstance(columns, dict) or set(columns) == {"b64"}:  # a signature's only input may go without its name
            columns = {_only_input(servable, signature): columns}
        inputs = {}
        for name, value in columns.items():
            if name not in servable.signatures[signature].inputs:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Unknown input: {name}")
            inputs[name] = np.array(_from_json(value), servable.dtype(signature, name))
        outputs = {k: _to_json(k, v) for k, v in servable.run(signature, inputs, defaults=False).items()}
        if "inputs" in body:
            return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
        rows = [dict(zip(outputs, row)) for row in zip(*outputs.values())]
        return {"predictions": rows if len(outputs) > 1 else [next(iter(row.values())) for row in rows]}

    def metadata(model, version, label, body):
        """Of the version that a label is on; the signatures are left out here."""
        number, _ = server.find(model, version, label)
        return {"model_spec": {"name": model, "signature_name": "", "version": str(number)}, "metadata": {}}

    async def get(request: Request):
        return answer(status)(request, None)

    async def get_metadata(request: Request):
        return answer(metadata)(request, None)

    async def post(request: Request):
        if request.path_params.pop("verb") != "predict":
            return JSONResponse({"error": "Malformed request: POST " + request.url.path}, 400)
        try:
            body = await request.json()
        except ValueError:
            return JSONResponse({"error": "JSON Parse error: Invalid value"}, 400)
        return answer(predict)(request, body)

    routes = []
    for which in ("", "/versions/{version:int}", "/labels/{label:str}"):
        routes.append(Route("/v1/models/{model}" + which + ":{verb}", post, methods=["POST"]))
        routes.append(Route("/v1/models/{model}" + which + "/metadata", get_metadata))
        routes.append(Route("/v1/models/{model}" + which, get))
    return Starlette(routes=routes)


def _only_input(servable: Servable, signature: str) -> str:
    names = list(servable.signatures[signature].inputs)
    if len(names) != 1:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Tensor names are needed: the signature has {names}")
    return names[0]


def _columns(rows: list, servable: Servable, signature: str) -> dict:
    if not all(isinstance(row, dict) and set(row) != {"b64"} for row in rows):
        return {_only_input(servable, signature): rows}
    if len({frozenset(row) for row in rows}) > 1:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "instances do not all have the same inputs")
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _from_json(value):
    if isinstance(value, dict):
        if set(value) != {"b64"}:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"JSON object is not base64: {sorted(value)}")
        return base64.b64decode(value["b64"])
    if isinstance(value, list):
        return [_from_json(v) for v in value]
    return value.encode() if isinstance(value, str) else value


def _to_json(name: str, value: np.ndarray):
    if value.dtype != object:
        return value.tolist()

    def one(x):
        if isinstance(x, list):
            return [one(v) for v in x]
        return {"b64": base64.b64encode(x).decode()} if name.endswith("_bytes") else x.decode("utf-8")

    return one(value.tolist())
