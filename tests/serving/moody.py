"""A server that speaks as TensorFlow Serving does, over gRPC or REST, and has moods: it is slow, answers rubbish or
errors, hangs up, restarts, changes versions. When it does answer, it says words that hang on the picture and on the
version alone, so that whoever got another's answer can tell."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import random
import socket
import threading
import time
from concurrent import futures

import grpc
import numpy as np

from memefly.serving import wire

WORDS = [
    "a",
    "cat",
    "dog",
    "bird",
    "sits",
    "runs",
    "on",
    "under",
    "the",
    "red",
    "blue",
    "old",
    "mat",
    "tree",
    "sea",
    "hat",
]
MOODS = ("right", "right", "slow", "rubbish", "error", "hangs up")
SLOW = 0.6  # seconds
_SERVICE = "tensorflow.serving.PredictionService"


def words(picture: bytes, version: int) -> str:
    return " ".join(WORDS[byte % 16] for byte in hashlib.sha256(picture + b"%d" % version).digest()[:6])


class Moody:
    """On one port from `start` to `stop`, and again."""

    def __init__(self, seed: int):
        self._random, self._lock = random.Random(seed), threading.Lock()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.moody, self.version, self.seen = True, 1, []

    def mood(self) -> str:
        with self._lock:
            mood = self._random.choice(MOODS) if self.moody else "right"
            self.seen.append(mood)
            return mood

    def any(self, *of):
        with self._lock:
            return self._random.choice(of)

    def bytes(self) -> bytes:
        with self._lock:
            return self._random.randbytes(200)


class MoodyGrpc(Moody):
    address = property(lambda self: f"127.0.0.1:{self.port}")

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        methods = {"Predict": self._predict, "GetModelMetadata": self._metadata}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(method, wire._CLASSES[f"{name}Request"].FromString, _as_bytes)
            for name, method in methods.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        assert self._server.add_insecure_port(self.address) == self.port
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def _predict(self, request, context):
        mood, version = self.mood(), self.version
        if mood == "slow":
            time.sleep(SLOW)
        if mood == "error":
            code = self.any("UNAVAILABLE", "INTERNAL", "NOT_FOUND", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
            context.abort(
                getattr(grpc.StatusCode, code), "The batch scheduling queue is full" if code[0] == "R" else ""
            )
        if mood == "hangs up":
            context.abort(grpc.StatusCode.CANCELLED, "")
        (given,) = [one.value for one in request.inputs if one.key == "image_bytes"]
        said = words(given.string_val[0], version).encode()
        found = {
            "captions": np.array([[said]], object), "scores": np.array([[-0.5]], np.float32),
            "error": wire.strings([b""]),
        }  # fmt: skip
        if mood == "rubbish":
            kind = self.any("bytes", "less", "other", "empty", "huge")
            if kind == "bytes":
                return self.bytes()
            if kind == "less":
                del found["captions"]
            if kind == "other":
                found["captions"] = np.array([[1.5]], np.float32)
            if kind == "empty":
                found["captions"] = np.zeros([0, 1], np.float32)
        response = wire._CLASSES["PredictResponse"]()
        for name, value in found.items():
            response.outputs.add(key=name).value.CopyFrom(wire._tensor(value))
        if mood == "rubbish" and kind == "huge":
            for one in response.outputs:
                for dim in one.value.tensor_shape.dim:
                    dim.size = 1 << 16  # 2 ** 32 values that are one
        response.model_spec.name, response.model_spec.version.value = "captioner", version
        return response

    def _metadata(self, request, context):
        response = wire._CLASSES["GetModelMetadataResponse"]()
        response.model_spec.name, response.model_spec.version.value = "captioner", self.version
        return response


def _as_bytes(message) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


class MoodyRest(Moody):
    address = property(lambda self: f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        moody = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._say(200, {"model_spec": {"name": "captioner", "version": str(moody.version)}})

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                version = int(self.path.partition("/versions/")[2].partition(":")[0])
                mood = moody.mood()
                if mood == "slow":
                    time.sleep(SLOW)
                if mood == "hangs up":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                    self.close_connection = True
                elif mood == "error":
                    self._say(moody.any(404, 500, 502, 503), moody.any({"error": "away"}, ["away"], "<html>"))
                elif version != moody.version:
                    self._say(404, {"error": f"Servable not found for request: Specific(captioner, {version})"})
                else:
                    said = words(base64.b64decode(asked["inputs"]["image_bytes"][0]["b64"]), version)
                    outputs = {"captions": [[said]], "scores": [[-0.5]], "error": [""]}
                    rubbish = [
                        *([], {}, "[" * 100_000, {"outputs": 3}, {"outputs": {**outputs, "captions": [[1.5]]}}),
                        *({"outputs": {**outputs, "captions": []}}, {"outputs": {"error": [""]}}, "<html>"),
                        *(
                            {"outputs": {**outputs, "captions": [["a"], [["b"]]]}},
                            {"outputs": {**outputs, "error": [[7]]}},
                        ),
                    ]
                    self._say(200, moody.any(*rubbish) if mood == "rubbish" else {"outputs": outputs})

            def _say(self, status: int, what) -> None:
                body = what.encode() if isinstance(what, str) else json.dumps(what).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None: ...

            def handle(self) -> None:
                moody.connections.append(self.connection)
                try:
                    super().handle()
                except OSError:  # whoever asked is gone, or `stop` hung up
                    self.close_connection = True

        self.connections = []
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
