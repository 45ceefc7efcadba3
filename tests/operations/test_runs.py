"""What is told of the runs of a ROOT; a run of the pipeline itself is compared in tests/e2e."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from memefly.commands.main import main
from memefly.errors import UsageError
from memefly.operations import history, runs
from memefly.serving import promotion


def wrote(root: Path, run_id: str, **summary) -> Path:
    folder = root / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "run.log").touch()
    if summary:
        day = f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}T{run_id[9:11]}:{run_id[11:13]}:{run_id[13:15]}+00:00"
        (folder / "summary.json").write_text(json.dumps({"run_id": run_id, "started": day, **summary}))
    return folder


def nodes(pusher: str) -> list[dict]:
    return [{"name": "VersionPusher", "state": pusher, "seconds": 0.1}]


@pytest.fixture
def root(tmp_path):
    wrote(tmp_path, "20261101-090000", seconds=7260.4, pushed=f"{tmp_path}/serving/captioner/100", blessed=True,
          data={"images": 6865}, metrics={"bleu4": 0.2264, "cider": 0.5557}, components=nodes("ran"))  # fmt: skip
    wrote(tmp_path, "20261102-090000", seconds=61.0, pushed=f"{tmp_path}/serving/captioner/100", blessed=True,
          components=nodes("cached"))  # fmt: skip
    wrote(tmp_path, "20261103-090000", seconds=900.0, gate=["bleu4 is 0.1, must be at least 0.2", "more"],
          metrics={"bits_a_character": 1.5}, components=nodes("ran"))  # fmt: skip
    wrote(tmp_path, "20261104-090000", seconds=5.0, error="Trainer failed: OSError: no space\nleft")
    wrote(tmp_path, "20261105-090000")
    wrote(tmp_path, "20261106-090000", seconds=30.0, components=[{"name": "Trainer", "state": "ran", "seconds": 1}])
    (tmp_path / "runs" / "20261107-090000").mkdir()
    (tmp_path / "runs" / "20261107-090000" / "summary.json").write_text('{"run_id": "2026')
    (tmp_path / "runs" / "latest").symlink_to("20261107-090000")
    return tmp_path


def test_states(root):
    found = {run.run_id[6:8]: run for run in runs.read(root)}
    assert list(found) == ["07", "06", "05", "04", "03", "02", "01"], "the newest first"
    assert {day: run.state for day, run in found.items()} == {
        "01": "pushed", "02": "pushed", "03": "not blessed", "04": "failed", "05": "broke off", "06": "part",
        "07": "broke off",
    }  # fmt: skip
    assert (found["01"].version, found["01"].pictures, found["01"].seconds) == (100, 6865, 7260.4)
    assert found["03"].why == "bleu4 is 0.1, must be at least 0.2" and "cannot be read" in found["07"].why
    assert found["05"].started == "2026-11-05T09:00:00+00:00"
    assert {run.state for run in found.values()} <= set(runs.STATES)


def test_a_run_that_is_at_work(root):
    wrote(root, "20261108-090000")
    lock = root / ".lock"
    lock.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    assert runs.find(root, "latest").state == "running"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock.write_text(f"process {ended.pid} on {socket.gethostname()}\n")
    assert runs.find(root, "latest").state == "broke off"
    lock.write_text("process 1 on another-machine\n")
    assert runs.find(root, "latest").state == "running", "its log was just written to"
    os.utime(root / "runs" / "20261108-090000" / "run.log", (0, 0))
    assert runs.find(root, "latest").state == "broke off"
    assert runs.find(root, "20261105-090000").state == "broke off", "only the newest is at work"


def test_runs_of_one_second_are_in_their_order(tmp_path):
    for suffix in ("", "-2", "-10"):
        wrote(tmp_path, f"20261101-090000{suffix}", seconds=1.0)
    assert [run.run_id[15:] for run in runs.read(tmp_path)] == ["-10", "-2", ""]
    assert runs.find(tmp_path, "20261101-090000").run_id == "20261101-090000", "its own name before those it begins"


def test_what_is_no_run_is_told(root, tmp_path):
    assert runs.find(root, "20261103").run_id == "20261103-090000"
    with pytest.raises(
        UsageError, match=r"7 runs begin with '202611' in .*; there are 20261107-090000, .* …, and late"
    ):
        runs.find(root, "202611")
    with pytest.raises(UsageError, match="no run '2025'"):
        runs.find(root, "2025")
    with pytest.raises(UsageError, match="expected ROOT of `memefly run"):
        runs.read(tmp_path / "nothing")


def test_the_command_lists_them(root, capsys):
    assert main(["runs", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["20261101-090000", "pushed", "2", "h", "01", "6,865", "0.226", "0.556", "100"]
    assert lines[4].split()[:2] == ["20261104-090000", "failed"] and lines[4].endswith(
        "Trainer failed: OSError: no space"
    )
    assert main(["runs", "--root", str(root), "--limit", "2", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["run_id"] for one in told] == ["20261107-090000", "20261106-090000"] and "summary" not in told[0]


def test_who_reads_may_have_enough(root):
    """`memefly runs | head -1`: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "memefly", "runs", "--root", str(root)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_history_is_what_was_pushed_and_what_moved(root, capsys):
    moves = [
        promotion.Move("2026-11-01T12:00:00+00:00", "ann", "more dogs", "promote", "stable", None, 100),
        promotion.Move("2026-11-03T12:00:00+00:00", "bob", "", "rollback", "stable", 200, 100),
    ]
    (root / "serving").mkdir()
    lines = [json.dumps(move.__dict__) for move in moves]
    (root / "serving" / promotion.HISTORY).write_text("\n".join(lines) + "\n")
    found = history.read(root)
    assert [(event.what, event.version, event.who) for event in found] == [
        ("pushed", 100, "20261101-090000"), ("promote", 100, "ann"), ("rollback", 100, "bob"),
    ]  # fmt: skip
    assert found[0].when == "2026-11-01T11:01:00+00:00", "when it was pushed: at its run's end"
    assert main(["history", "--root", str(root)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-01 11:01:00 UTC  100 pushed by run 20261101-090000",
        "2026-11-01 12:00:00 UTC  stable on 100, by ann: more dogs",
        "2026-11-03 12:00:00 UTC  stable back to 100, from 200, by bob",
        "now: no label is on a version",
    ]
