"""Folders that the user may not read or write: one line that names them, and exit status 2."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Root may read and write everything, unless it gives that up.
AS_OTHERS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all", "--"]


@pytest.fixture
def memefly():
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("needs setpriv, of util-linux, to give up root's rights")

    def memefly(*arguments) -> subprocess.CompletedProcess:
        lead = AS_OTHERS if os.geteuid() == 0 else []
        command = [*lead, sys.executable, "-m", "pipeline.command", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)

    return memefly


@pytest.fixture
def closed(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "captions.jsonl").write_text("")
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def refused(done: subprocess.CompletedProcess, folder: Path) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(folder) in done.stderr and "Permission denied" in done.stderr


def test_where_nothing_may_be_written(memefly, tmp_path):
    only_read = tmp_path / "only-read"
    only_read.mkdir(mode=0o555)
    for command in (["sample", only_read / "out"], ["run", "--data", tmp_path, "--root", only_read / "root"]):
        refused(memefly(*command), only_read)
    assert not list(only_read.iterdir())


@pytest.mark.once
@pytest.mark.slow
def test_what_may_not_be_read(memefly, closed, tmp_path):
    refused(memefly("import", "memefly", closed / "memes.json", "--out", tmp_path / "out"), closed)
    assert not (tmp_path / "out").exists()
    refused(memefly("sweep", "--data", closed, "--root", tmp_path / "root", "--space", closed / "space.yaml"), closed)
    refused(memefly("run", "--data", tmp_path, "--root", closed), closed)


@pytest.mark.once
@pytest.mark.slow
def test_data_and_models_that_may_not_be_read(memefly, closed, tmp_path):
    refused(memefly("run", "--data", closed, "--root", tmp_path / "root", "--config", "tiny"), closed)
    refused(memefly("caption", "--model", closed, closed / "a.png"), closed)


@pytest.mark.once
@pytest.mark.slow
def test_a_root_that_would_be_taken_for_a_pattern_is_not_made(memefly, tmp_path):
    for command, more in (("run", []), ("sweep", ["--space", tmp_path / "space.yaml"])):
        done = memefly(command, "--data", tmp_path, "--root", tmp_path / "a*b", *more)
        assert done.returncode == 2 and "'*' would be taken for a pattern of several files" in done.stderr
    assert not list(tmp_path.iterdir())
