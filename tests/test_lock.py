"""One command at a time on a root."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memefly import lock
from memefly.errors import UsageError

HOME = Path(__file__).parents[2]
_HOLDER = """
import sys, time
from memefly import lock
with lock.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_command_is_refused_until_the_first_has_ended_however_it_does(tmp_path):
    root = tmp_path / "root"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(root)], cwd=HOME, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(UsageError, match=f"another run or sweep is at work in .*process {holder.pid} on"),
        lock.held(root),
    ):
        pass
    with lock.held(tmp_path / "other"):
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    for _ in range(2):
        with lock.held(root):
            assert (root / lock.FILE).read_text().startswith(f"process {os.getpid()} on")


def test_where_there_are_no_locks_it_says_so_and_goes_on(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with lock.held(tmp_path):
        assert "cannot lock" in caplog.text
