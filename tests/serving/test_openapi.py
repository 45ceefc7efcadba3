"""Whether the service does what its OpenAPI document says: schemathesis asks every operation what it allows and what it
does not. MEMEFLY_CASES says how often each (8); `make stress` asks for thousands in all."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import uvicorn
import yaml
from told import Told, picture

from memefly.serving.service import create_app
from memefly.serving.settings import ServiceConfig

pytestmark = [pytest.mark.once, pytest.mark.slow]
HERE = Path(__file__).parent
EACH = int(os.environ.get("MEMEFLY_CASES", "8"))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    (folder / "cat.png").write_bytes(picture(size=(90, 60)))
    (folder / "cat.yaml").write_text(yaml.safe_dump({"name": "Cat", "picture": "cat.png"}))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    app = create_app(Told(), ServiceConfig(templates=folder))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_it_does_what_its_document_says(url, tmp_path):
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml"), "run",
        f"{url}/openapi.json", "--max-examples", str(EACH), "--phases", "examples,coverage,fuzzing", "--seed", "1",
        "--checks", "all", "--generation-database", "none", "--continue-on-failure",
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    print(done.stdout[-20_000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    generated = int(re.search(r"(\d[\d,]*) generated", done.stdout)[1].replace(",", ""))
    assert generated > 100 and "Selected: " in done.stdout
