"""The temporary folder, as it is when processes have come and gone."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.fixture
def python(tmp_path):
    """Starts Python code, with nothing but TMPDIR to write to."""
    home = tmp_path / "tmp"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("KERAS_HOME", "MPLCONFIGDIR")}
    environment |= {"TMPDIR": str(home), "HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}

    def python(code: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", "import os, tempfile\nfrom memefly import temporary\n" + textwrap.dedent(code)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    return python


def said(process: subprocess.Popen) -> list[str]:
    return process.communicate(timeout=60)[0].split()


def test_what_is_left_goes_with_the_process(python, tmp_path):
    folder, file, left = said(
        python("""
        folder = temporary.settle()
        descriptor, file = tempfile.mkstemp()
        print(folder, file, temporary.settle() == folder)
        """)
    )
    assert Path(file).parent == Path(folder) and Path(folder).parent == tmp_path / "tmp" and left == "True"
    assert not list((tmp_path / "tmp").iterdir()) and not (tmp_path / "home").exists()


def test_a_process_started_by_another_shares_its_folder(python, tmp_path):
    mine, theirs = said(
        python("""
        import subprocess, sys
        print(temporary.settle(), flush=True)
        code = "from memefly import temporary; print(temporary.settle())"
        subprocess.run([sys.executable, "-c", code])
        assert os.path.isdir(os.environ["TMPDIR"]), "which is not the other's to remove"
        """)
    )
    assert mine == theirs


def test_what_a_killed_process_left_is_taken_away_and_nothing_else(python, tmp_path):
    home = tmp_path / "tmp"
    killed = python("folder = temporary.settle(); tempfile.mkstemp(); os.kill(os.getpid(), 9)")
    assert killed.wait(60) == -9
    (left,) = home.iterdir()
    assert list(left.iterdir())

    alive = python("print(temporary.settle(), flush=True); input()")
    at_work = Path(alive.stdout.readline().strip())
    assert not left.exists() and at_work.is_dir(), "the next one has taken it away"
    other = home / "memefly-data"  # of somebody who works with it
    other.mkdir()
    assert len(said(python("print(temporary.settle())"))) == 1
    assert sorted(home.iterdir()) == [at_work, other]
    alive.communicate("\n", timeout=60)
    assert list(home.iterdir()) == [other]


def test_where_nothing_can_be_written_it_is_done_without(monkeypatch):
    from memefly import temporary

    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(temporary, "_ours", [])
    monkeypatch.setattr(temporary.tempfile, "gettempdir", nowhere)
    assert temporary.settle() is None
