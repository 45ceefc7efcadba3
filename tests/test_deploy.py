"""What deploy/ holds is judged by the tools of those formats, and must agree with the code."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, message_factory, text_format

DEPLOY = Path(__file__).parents[1] / "deploy"
BIN = Path(sys.executable).parent


def judge(command: list[str], path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([str(BIN / command[0]), *command[1:], str(path)], capture_output=True, text=True)


COMPOSE = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
KUBERNETES = ["kubernetes-validate", "--strict"]
HADOLINT = ["hadolint"]
KUSTOMIZATION = ["check-jsonschema", "--schemafile", str(Path(__file__).parent / "kustomization.schema.json")]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "pattern", "spoilt"),
    [
        (COMPOSE, "compose.yaml", ("restart:", "restarts:")),
        (COMPOSE, "flink/compose.yaml", ("restart:", "restarts:")),
        (KUBERNETES, "kubernetes/[gt]*.yaml", ("containerPort:", "containerport:")),
        (KUBERNETES, "flink/kubernetes/flink.yaml", ("containerPort:", "containerport:")),
        (KUBERNETES, "kubernetes/autoscaling/autoscaler.yaml", ("minReplicas:", "minreplicas:")),
        (KUSTOMIZATION, "**/kustomization.yaml", ("resources:", "ressources:")),
        (HADOLINT, "*/Dockerfile", ("USER", "RUN apt-get install curl\nUSER")),
    ],
)
def test_the_tools_find_no_fault(command, pattern, spoilt, tmp_path):
    files = sorted(DEPLOY.glob(pattern))
    assert files
    for path in files:
        done = judge(command, path)
        assert done.returncode == 0, done.stdout + done.stderr
    bad = tmp_path / files[0].name
    bad.write_text(files[0].read_text().replace(*spoilt))
    assert judge(command, bad).returncode != 0, "the tool finds fault with nothing"


def containers() -> dict[str, dict]:
    documents = [d for path in (DEPLOY / "kubernetes").glob("[gt]*.yaml") for d in yaml.safe_load_all(path.read_text())]
    deployments = [d for d in documents if d["kind"] == "Deployment"]
    return {d["metadata"]["name"]: d["spec"]["template"]["spec"] for d in deployments}


def test_it_scales_by_what_the_gateway_says_of_itself():
    from starlette.testclient import TestClient

    from memefly.serving.service import create_app

    class Nobody:
        def close(self):
            pass

    overlay = DEPLOY / "kubernetes" / "autoscaling"
    scaler, _ = yaml.safe_load_all((overlay / "autoscaler.yaml").read_text())
    assert scaler["spec"]["scaleTargetRef"]["name"] in containers()
    (metric,) = scaler["spec"]["metrics"]
    with TestClient(create_app(Nobody())) as client:
        assert f"\n{metric['pods']['metric']['name']} 0.0" in client.get("/metrics").text
    for folder in (overlay, overlay.parent):
        for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
            assert (folder / name).exists()


def test_the_image_holds_neither_tensorflow_nor_the_pipeline():
    lock = (DEPLOY.parent / "requirements" / "serving.txt").read_text()
    names = {line.partition("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith(" ")}
    assert {"fastapi", "uharfbuzz", "grpcio"} <= names
    assert not names & {"tensorflow", "tf-keras", "tensorflow-serving-api", "tfx", "apache-beam", "wandb", "keras"}


def test_everything_runs_without_rights():
    for service in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values():
        assert service["user"] == "65532:65532" and service["read_only"] and service["cap_drop"] == ["ALL"]
    for spec in containers().values():
        assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
    for path in DEPLOY.glob("*/Dockerfile"):
        assert "USER 65532:65532" in path.read_text()


def test_flink_speaks_the_beam_of_the_lock_and_is_where_the_configuration_says():
    compose = yaml.safe_load((DEPLOY / "flink" / "compose.yaml").read_text())["services"]
    documents = list(yaml.safe_load_all((DEPLOY / "flink" / "kubernetes" / "flink.yaml").read_text()))
    pods = {d["metadata"]["name"]: d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment"}
    lock = (DEPLOY.parent / "requirements" / "tfx-1.21.txt").read_text()
    (beam,) = re.findall(r"^apache-beam==(\S+)", lock, re.MULTILINE)
    images = {service["image"] for service in compose.values() if "image" in service}
    in_pods = {one["image"] for pod in pods.values() for one in pod["containers"]}
    assert images == {image for image in in_pods if not image.startswith("memefly-worker:")}
    (server,) = [image for image in images if "job_server" in image]
    (flink,) = images - {server}
    version = flink.removeprefix("flink:").rpartition(".")[0]
    assert server == f"apache/beam_flink{version}_job_server:{beam}"
    if metadata.version("apache-beam") == beam:
        from apache_beam.options.pipeline_options import FlinkRunnerOptions

        assert version in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    arguments = yaml.safe_load((DEPLOY / "flink" / "flink.yaml").read_text())["beam"]
    said = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    published = {port.split(":")[1] for port in compose["job-server"]["ports"]}
    assert {said[name].split(":")[1] for name in ("job_endpoint", "artifact_endpoint")} == published
    dockerfile = (DEPLOY / "flink" / "Dockerfile").read_text()
    assert f"EXPOSE {said['environment_config'].split(':')[1]}" in dockerfile
    assert compose["workers"]["network_mode"] == "service:taskmanager"
    assert [one["name"] for one in pods["flink-taskmanager"]["containers"]] == ["taskmanager", "workers"]
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        assert all(one["resources"]["limits"]["memory"] for one in pod["containers"])
    assert all(service["mem_limit"] and service["cap_drop"] == ["ALL"] for service in compose.values())


# --- protos -------------------------------------------------------------------------------------------------------


def message(name: str, fields: list[tuple], nested: dict[str, list[tuple]]):
    """A message class from (name, number, type, repeated or not). TensorFlow Serving's package for Python leaves out
    these two protos; their fields are copied from session_bundle_config.proto and monitoring_config.proto."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="copied", syntax="proto3")
    for title, content in {**nested, name: fields}.items():
        proto = file.message_type.add(name=title)
        for field, number, kind, repeated in content:
            added = proto.field.add(name=field, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                added.type, added.type_name = 11, f".copied.{kind}"
            else:
                added.type = kind
    return message_factory.GetMessages([file])[f"copied.{name}"]


INT64, BOOL, STRING = 3, 8, 9


def test_batching_parameters_are_those_of_the_code():
    from memefly.exported.warmup import LARGEST_BATCH, WARMUP_BATCHES

    BatchingParameters = message(
        "BatchingParameters",
        [
            ("max_batch_size", 1, "Int64Value", False),
            ("batch_timeout_micros", 2, "Int64Value", False),
            ("max_enqueued_batches", 3, "Int64Value", False),
            ("num_batch_threads", 4, "Int64Value", False),
            ("thread_pool_name", 5, "StringValue", False),
            ("allowed_batch_sizes", 6, INT64, True),
            ("pad_variable_length_inputs", 7, BOOL, False),
        ],
        {"Int64Value": [("value", 1, INT64, False)], "StringValue": [("value", 1, STRING, False)]},
    )
    content = (DEPLOY / "tf-serving" / "batching_parameters.txt").read_text()
    parameters = text_format.Parse(content, BatchingParameters())
    assert parameters.max_batch_size.value == LARGEST_BATCH
    sizes = list(parameters.allowed_batch_sizes)
    assert sizes == sorted(sizes) and sizes[-1] == LARGEST_BATCH, "the server refuses other lists"
    assert set(sizes) <= set(WARMUP_BATCHES)


def test_monitoring_is_where_prometheus_looks():
    MonitoringConfig = message(
        "MonitoringConfig",
        [("prometheus_config", 1, "PrometheusConfig", False)],
        {"PrometheusConfig": [("enable", 1, BOOL, False), ("path", 2, STRING, False)]},
    )
    told = text_format.Parse((DEPLOY / "tf-serving" / "monitoring.config").read_text(), MonitoringConfig())
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (serving,) = [job for job in jobs if job["job_name"] == "tf-serving"]
    assert told.prometheus_config.enable and told.prometheus_config.path == serving["metrics_path"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {t.split(":")[0] for job in jobs for c in job["static_configs"] for t in c["targets"]} <= set(services)


# --- probes -------------------------------------------------------------------------------------------------------


def probes() -> dict[str, list[str]]:
    """The commands that ask TensorFlow Serving for its model's state, as they are run, by where they are written."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["tf-serving"]["healthcheck"]["test"]
    assert compose[0] == "CMD", "a shell would be dash, which has no /dev/tcp"
    (container,) = containers()["tf-serving"]["containers"]
    return {
        "compose": compose[1:],
        "startup": container["startupProbe"]["exec"]["command"],
        "readiness": container["readinessProbe"]["exec"]["command"],
    }


@pytest.mark.parametrize(
    ("state", "status", "ready"), [("AVAILABLE", 200, True), ("LOADING", 200, False), (None, 404, False)]
)
def test_probes_read_the_state_of_the_model(state, status, ready):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/v1/models/captioner"
            one = f'{{"state": "{state}", "status": {{"error_code": "{"OK" if ready else "UNAVAILABLE"}"}}}}'
            content = f'{{"model_version_status": [{one}]}}' if state else '{"error": "none"}'
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for where, command in probes().items():
            command = [part.replace("8501", str(server.server_port)) for part in command]
            assert (subprocess.run(command).returncode == 0) == ready, where
    finally:
        server.shutdown()
        server.server_close()
