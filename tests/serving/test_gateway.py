"""The gateway, as its image runs it: without TensorFlow."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from told import picture

pytestmark = pytest.mark.once
HOME = Path(__file__).parents[2]
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras", "tensorflow_serving", "tfx", "apache_beam", "wandb"):
            raise ModuleNotFoundError(f"{name} is not in the image")

sys.meta_path.insert(0, Missing())
from memefly.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_it_needs_no_tensorflow_and_ends_when_it_is_told_to(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        WITHOUT,
        "serve",
        "--tf-serving",
        "127.0.0.1:9",
        "--port",
        str(port),
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=HOME, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                assert httpx.get(f"{url}/healthz").status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 503
        form = {"data": {"meme": '{"texts": ["hello"]}'}, "files": {"picture": ("a.png", picture(size=(90, 60)))}}
        assert httpx.post(f"{url}/v1/render", timeout=30, **form).headers["content-type"] == "image/png"
        refused = httpx.post(f"{url}/v1/captions", content=picture(), timeout=30)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "no_model")
        assert httpx.get(url).headers["content-type"].startswith("text/html")
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    said = (tmp_path / "log").read_text().splitlines()
    assert status in (0, -signal.SIGTERM) and "127.0.0.1:9" in said[0] and f"{url}/" in said[0]
    assert [json.loads(line)["status"] for line in said[1:]] == [200, 503, 200], said
