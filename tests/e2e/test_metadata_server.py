"""ML Metadata on a server: the real one, MariaDB of Debian's."""

import json
import os
import subprocess
import sys

import pytest
from whole_run import HOME, command

from memefly import metadata_store
from memefly.errors import ConfigError
from pipeline import config
from tests import metadata_server

NEEDS_SERVER = [pytest.mark.once, pytest.mark.skipif(bool(metadata_server.missing()), reason=metadata_server.missing())]
MEMEFLY = [sys.executable, "-m", "pipeline.command"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with metadata_server.serving(tmp_path_factory.mktemp("server")) as server:
        yield server


def run(arguments: list[str], environment: dict[str, str], status: int = 0) -> subprocess.CompletedProcess:
    around = {**os.environ, **environment, "WANDB_MODE": "offline"}
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=HOME, env=around, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


class TestServer:
    pytestmark = NEEDS_SERVER

    def test_a_root_is_worked_in_as_with_sqlite(self, server, memes, small_encoder, tmp_path_factory):
        root = tmp_path_factory.mktemp("root")
        named = ["--set", f"storage.metadata={server.url}"]
        to_features = command(memes, root, small_encoder, "--to", "ImageFeatures", "--json")
        first = json.loads(run([*to_features, *named], server.environment).stdout)
        again = json.loads(run(to_features, server.environment).stdout)  # where it is need not be said again
        ran = {one["name"] for one in first["components"] if one["state"] == "ran"}
        assert {one["name"] for one in again["components"] if one["state"] == "cached"} == ran and len(ran) == 2
        assert not (root / "metadata.sqlite").exists()
        assert "root://artifacts/CaptionExampleGen/examples" in server.ask("select uri from memes.Artifact")
        said = run([*MEMEFLY, "runs", "--root", str(root), "--json"], server.environment).stdout
        assert first["run_id"] in said
        assert run([*MEMEFLY, "gc", "--root", str(root)], server.environment).stdout
        assert (
            f"ML Metadata at {server.url}" in run([*MEMEFLY, "doctor", "--root", str(root)], server.environment).stdout
        )

        # Its password is told to nobody.
        secret = next(iter(server.environment.values())).encode()
        assert not [path for path in root.rglob("*") if path.is_file() and secret in path.read_bytes()]

        # Another ROOT has no business there.
        other = run(
            [*command(memes, tmp_path_factory.mktemp("other"), small_encoder, "--to", "CaptionExampleGen"), *named],
            server.environment, status=2,
        )  # fmt: skip
        assert f"the database {server.url} belongs to another ROOT" in other.stderr

        # Nor has who does not know the password.
        wrong = run(to_features, {metadata_store.PASSWORD: "a guess"}, status=2)
        assert f"{server.url} cannot be written as ML Metadata" in wrong.stderr
        assert metadata_store.PASSWORD in wrong.stderr

        # And a server that is not there is told at once; started again, all is as it was.
        server.stop()
        gone = run(to_features, server.environment, status=2)
        assert run([*MEMEFLY, "doctor", "--root", str(root)], server.environment, status=1).stdout.count(
            "nothing answers"
        )
        assert f"nothing answers at 127.0.0.1:{server.port} (connection refused)" in gone.stderr
        server.start()
        back = json.loads(run(to_features, server.environment).stdout)
        assert {one["name"] for one in back["components"] if one["state"] == "cached"} == ran


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///x", r"as mysql://USER@HOST:PORT/DATABASE, got 'sqlite:///x'"),
        ("mysql://host/memes", "got 'mysql://host/memes'"),
        ("mysql://me@host", "got 'mysql://me@host'"),
        ("mysql://me@host:port/memes", "as mysql://"),
        ("mysql://me@host/memes?ssl=1", "as mysql://"),
        ("mysql://me:hidden@host/memes", r"mysql://host/memes has a password in it.*MEMEFLY_METADATA_PASSWORD"),
        ("postgresql://me@host/memes", "cannot write text with a backslash"),
    ],
)
def test_what_names_no_server_is_told(url, said):
    with pytest.raises(ConfigError, match=said) as refused:
        config.load("tiny", [f"storage.metadata={url}"])
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("place", ["elsewhere", "./artifacts", "~/artifacts"])
def test_a_place_is_absolute(place):
    with pytest.raises(ConfigError, match=r"storage\.artifacts: expected an absolute path, or a folder in a store"):
        config.load("tiny", [f"storage.artifacts={place}"])
