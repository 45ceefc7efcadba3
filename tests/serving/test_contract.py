"""What clients of TensorFlow Serving rely on: against the server itself where `tensorflow_model_server` is on the PATH
or `docker` has its image, else against the stand-in."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import exported_model
import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from memefly.decoding import KNOBS
from memefly.errors import BackendError, ModelError, PictureError
from memefly.exported import loading
from memefly.exported.captions import Caption
from memefly.serving import promotion
from memefly.serving.tf_serving import TensorFlowServing

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).parents[2] / "deploy" / "tf-serving"
(VERSION,) = (line.partition("=")[2] for line in (DEPLOY / "Dockerfile").read_text().splitlines() if "ARG " in line)
IMAGE = f"tensorflow/serving:{VERSION}"


def real_server() -> list[str] | None:
    """The command that the server's flags follow, where there is one."""
    if binary := shutil.which("tensorflow_model_server"):
        return [binary]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "image", "inspect", IMAGE], capture_output=True).returncode == 0:
        mounts = ["-v", f"{tempfile.gettempdir()}:{tempfile.gettempdir()}:ro", "-v", f"{DEPLOY}:{DEPLOY}:ro"]
        entry = ["--entrypoint", "tensorflow_model_server", IMAGE]
        return [docker, "run", "--rm", "--network=host", *mounts, *entry]
    return None


class Real:
    """`tensorflow_model_server` with the flags of deploy/tf-serving/Dockerfile, but for ports and paths."""

    def __init__(self, config):
        ports = []
        for _ in range(2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        changed = {
            "--port": ports[0],
            "--rest_api_port": ports[1],
            "--model_config_file": config,
            "--model_config_file_poll_wait_seconds": 1,
            "--batching_parameters_file": DEPLOY / "batching_parameters.txt",
            "--monitoring_config_file": DEPLOY / "monitoring.config",
        }
        written = (DEPLOY / "Dockerfile").read_text().rpartition("CMD ")[2].replace("\\\n", "")
        flags = dict(flag.split("=") for flag in json.loads(written)) | changed
        command = [*real_server(), *(f"{name}={value}" for name, value in flags.items())]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.grpc_address, self.rest_url = f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        self.refused = []
        backend = TensorFlowServing(self.grpc_address)
        for _ in range(300):
            if backend.status().ready:
                return
            time.sleep(0.2)
        raise RuntimeError("tensorflow_model_server did not get ready")

    def close(self):
        self._process.terminate()
        self._process.wait()


@pytest.fixture(scope="module")
def root(exported, small_encoder, tmp_path_factory):
    """A pipeline's root with two pushed versions of other weights; 100 is stable."""
    root = tmp_path_factory.mktemp("root")
    versions = root / "serving" / "captioner"
    shutil.copytree(exported, versions / "100")
    other = exported_model.make(tmp_path_factory.mktemp("other"), small_encoder, seed=2)
    exported_model.write(other, versions / "200")
    promotion.promote(root, 100, "stable", base_path=str(versions))
    return root


@pytest.fixture(scope="module")
def server(root):
    from stand_in import StandIn

    server = (Real if real_server() else StandIn)(root / "serving" / "models.config")
    yield server
    server.close()


@pytest.fixture(scope="module")
def model(root):
    return loading.load(root / "serving" / "captioner" / "100")


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def post(server, path: str, body) -> tuple[int, dict]:
    answer = httpx.post(f"{server.rest_url}/v1/models/{path}", json=body, timeout=60)
    return answer.status_code, answer.json()


@pytest.mark.once
def test_rest_by_columns(server, model, pictures):
    status, answer = post(server, "captioner:predict", {"inputs": {"image_bytes": [b64(p) for p in pictures[:3]]}})
    expected = model.predict(pictures[:3])
    assert status == 200 and set(answer["outputs"]) == set(expected)
    assert answer["outputs"]["caption"] == [c.decode() for c in expected["caption"]]
    np.testing.assert_allclose(answer["outputs"]["scores"], expected["scores"], atol=1e-4)


def test_rest_by_rows(server, model, pictures):
    status, answer = post(server, "captioner:predict", {"instances": [{"image_bytes": b64(p)} for p in pictures[:2]]})
    assert status == 200
    assert [row["caption"] for row in answer["predictions"]] == [
        c.decode() for c in model.predict(pictures[:2])["caption"]
    ]
    status, same = post(server, "captioner:predict", {"instances": [b64(p) for p in pictures[:2]]})
    assert status == 200 and same["predictions"] == answer["predictions"]


@pytest.mark.once
def test_rest_tells_a_bad_picture_apart(server, model, pictures):
    body = {"inputs": {"image_bytes": [b64(b"no picture"), b64(pictures[0])]}}
    status, answer = post(server, "captioner/labels/stable:predict", body)
    assert status == 200
    assert answer["outputs"]["caption"] == ["", model.predict(pictures[:1])["caption"][0].decode()]
    assert "JPEG" in answer["outputs"]["error"][0] and answer["outputs"]["error"][1] == ""


@pytest.mark.once
def test_rest_takes_all_knobs(server, model, pictures):
    own = {name: [getattr(exported_model.DECODING, name)] for name in KNOBS}
    inputs = {"image_bytes": [b64(pictures[0])], **own, "beam": [5], "prefix": [""]}
    status, answer = post(server, "captioner:predict", {"signature_name": "decode", "inputs": inputs})
    assert status == 200
    assert answer["outputs"]["captions"][0] == [c.text for c in model.caption(pictures[:1], beam=5)[0]]


def test_rest_explains(server, pictures):
    body = {"signature_name": "explain", "inputs": [b64(pictures[0])]}
    status, answer = post(server, "captioner:predict", body)
    assert status == 200
    tokens, alphas = answer["outputs"]["tokens"][0], np.array(answer["outputs"]["alphas"])[0]
    assert "</s>" in tokens and alphas.shape == (len(tokens), 8, 8)


@pytest.mark.once
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("captioner:predict", {}, 400),
        ("captioner:predict", {"inputs": {"image_bytes": []}, "instances": []}, 400),
        ("captioner:predict", {"inputs": {"picture": [{"b64": ""}]}}, 400),
        ("captioner:predict", {"signature_name": "none", "instances": [{"b64": ""}]}, 400),
        ("captioner/versions/999:predict", {"instances": [{"b64": ""}]}, 404),
        ("captioner/labels/none:predict", {"instances": [{"b64": ""}]}, 400),
        ("nobody:predict", {"instances": [{"b64": ""}]}, 404),
    ],
)
def test_rest_errors(server, path, body, status):
    code, answer = post(server, path, body)
    assert code == status and isinstance(answer["error"], str) and answer["error"]


def test_grpc(server, model, pictures):
    with grpc.insecure_channel(server.grpc_address) as channel:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.version_label = "captioner", "stable"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(pictures[:3], tf.string))
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
        assert response.model_spec.version.value == 100
        expected = model.predict(pictures[:3])
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs["captions"]), expected["captions"])
        np.testing.assert_allclose(tf.make_ndarray(response.outputs["score"]), expected["score"], atol=1e-4)
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = "captioner"
        (status,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked).model_version_status
        assert (status.version, status.state) == (100, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        request.model_spec.version.value = 999
        with pytest.raises(grpc.RpcError) as raised:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("over", ["grpc", "rest"])
def test_the_gateway_says_what_the_model_says(over, server, root, model, pictures):
    address = server.grpc_address if over == "grpc" else server.rest_url
    backend = TensorFlowServing(address, label="stable", models=root / "serving")
    digest = model.manifest["digest"]
    assert backend.status().ready and (backend.status().model.version, backend.status().model.digest) == (100, digest)
    rounded = [[(c.text, pytest.approx(c.score, abs=1e-4)) for c in row] for row in model.caption(pictures[:2])]
    answers = [backend.caption(p, {}) for p in pictures[:2]]
    assert [[(c.text, c.score) for c in answer.captions] for answer in answers] == rounded
    assert {(answer.model.version, answer.model.digest) for answer in answers} == {(100, digest)}
    drawn = backend.caption(pictures[0], {"temperature": 2.0, "seed": 5, "beam": 2}).captions
    assert [c.text for c in drawn] == [c.text for c in model.caption(pictures[:1], temperature=2.0, seed=5, beam=2)[0]]
    assert all(isinstance(c, Caption) for c in drawn)
    begun = backend.caption(pictures[0], {"prefix": "brace zebra"}).captions
    assert [c.text for c in begun] == [c.text for c in model.caption(pictures[:1], prefix="brace zebra")[0]]
    assert begun[0].text.startswith("brace zebra ")
    (seen,) = model.explain(pictures[:1], [drawn[0].text])
    looked = backend.look(pictures[0], drawn[0].text)
    assert looked.words == seen.words
    np.testing.assert_allclose(looked.weights, seen.weights, atol=1e-4)
    with pytest.raises(PictureError, match="JPEG"):
        backend.caption(b"no picture", {})
    with pytest.raises(ModelError):
        backend.caption(pictures[0], {"beam": 0})
    other = TensorFlowServing(address, label="canary")
    assert not other.status().ready, "stable is loaded, canary is on no version"
    with pytest.raises(BackendError, match="label"):
        other.caption(pictures[0], {})
    nobody = TensorFlowServing("127.0.0.1:9" if over == "grpc" else "http://127.0.0.1:9", timeout=2)
    assert not nobody.status().ready
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        nobody.caption(pictures[0], {})
    backend.close()


def test_what_could_not_be_read_of_a_model_is_read_when_it_is_there(server, root, model, pictures, tmp_path):
    backend = TensorFlowServing(server.grpc_address, label="stable", models=tmp_path)
    assert backend.caption(pictures[0], {}).model.digest is None
    (tmp_path / "captioner").symlink_to(root / "serving" / "captioner")
    assert backend.caption(pictures[0], {}).model.digest == model.manifest["digest"]


def test_without_the_folder_of_models(server, model, pictures):
    """gRPC tells the version, nobody the digest; the server fills in knobs over gRPC alone."""
    backend = TensorFlowServing(server.grpc_address, label="stable")
    answer = backend.caption(pictures[0], {"beam": 2})
    assert (answer.model.version, answer.model.digest, len(answer.captions)) == (100, None, 2)
    rest = TensorFlowServing(server.rest_url, label="stable")
    assert rest.caption(pictures[0], {}).captions[0].text == model.caption(pictures[:1])[0][0].text
    with pytest.raises(ModelError, match="--models"):
        rest.caption(pictures[0], {"beam": 2})


@pytest.mark.once
def test_a_label_moves_while_it_serves(server, root, pictures):
    """Promoted, the other version answers; rolled back, the first does again."""

    def says(path: str) -> tuple[int, list]:
        status, answer = post(server, f"captioner{path}:predict", {"instances": [b64(p) for p in pictures[:8]]})
        return status, [row["caption"] for row in answer.get("predictions", [])]

    def eventually(path: str, captions: list) -> bool:
        for _ in range(150):
            if says(path) == (200, captions):
                return True
            time.sleep(0.1)
        return False

    _, stable = says("/labels/stable")
    wait = promotion.until_available(server.grpc_address)
    promotion.promote(root, 200, "stable", wait=wait)
    other = [c.decode() for c in loading.load(root / "serving" / "captioner" / "200").predict(pictures[:8])["caption"]]
    assert other != stable
    assert eventually("/labels/stable", other)
    promotion.promote(root, 100, "canary", wait=wait)
    assert eventually("/labels/canary", stable) and says("/labels/stable") == (200, other)
    promotion.rollback(root, wait=wait)
    assert eventually("/labels/stable", stable)
    assert not server.refused
    promotion.promote(root, 200, "canary", wait=wait)  # 200 was rolled back from, and is loaded again
    assert eventually("/labels/canary", other) and not server.refused
