"""Two workers, each started with the same command: the chief runs the pipeline, the other one helps it train."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ports

HOME = Path(__file__).parents[2]


@pytest.fixture
def start(memes, small_encoder, whole, tmp_path):
    whole.copy(tmp_path / "root")  # what comes before the Trainer is there
    cluster, started = {"worker": [f"127.0.0.1:{port}" for port in ports.free(2)]}, []

    def start(index: int) -> subprocess.Popen:
        command = [
            sys.executable, "-m", "pipeline.command", "run", "--data", str(memes), "--root", str(tmp_path / "root"),
            "--config", "tiny", "--set", f"encoder.weights={small_encoder}", "--to", "Trainer",
            "--set", "training.strategy=multi_worker", "--set", "training.max_steps=6",
        ]  # fmt: skip
        task = {"type": "worker", "index": index}
        environment = {**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=HOME, env=environment, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.once
def test_a_second_worker_helps_to_train(start, tmp_path):
    helper, chief = start(1), start(0)  # the helper first: it waits
    assert helper.stderr.readline().strip().startswith("worker 1 of worker 0, worker 1: waits for the chief")
    said, complaints = chief.communicate(timeout=300)
    assert chief.returncode == 0, said + complaints
    assert "cross_entropy: epoch 1" in said and "waits for the other workers" in said
    _, told = helper.communicate(timeout=60)
    assert helper.returncode == 0, told
    told = [line.strip().removeprefix("worker 1 of worker 0, worker 1: ") for line in told.splitlines()]
    assert told[-1] == "the chief's run is over"
    assert told.index("trains") < told.index("done with this training")
    # Both say the same of every epoch: one model, one validation.
    epochs = [[e.split("  ")[:4] for e in lines if "epoch" in e] for lines in (map(str.strip, said.splitlines()), told)]
    assert epochs[0] == epochs[1] and epochs[0]
    root = tmp_path / "root"
    assert not list((root / "workers").iterdir())
    _, model = sorted((root / "artifacts" / "Trainer" / "model").iterdir(), key=lambda path: int(path.name))
    assert (model / "Format-Serving" / "saved_model.pb").is_file()


_ASKING = """
from components.caption_trainer import training_process
config = {"training": {"strategy": "multi_worker"}, "devices": {}}
arguments = dict.fromkeys(training_process._OF_TRAINER, "") | {"custom_config": config}
training_process.run(arguments, "worker")
"""


def test_a_training_ends_with_the_process_that_asked_for_it():
    """Also while it waits for a worker that never comes, when Python stands still."""
    cluster = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 1}}
    environment = {**os.environ, "TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "0"}
    parent = subprocess.Popen(
        [sys.executable, "-c", _ASKING], cwd=HOME, env=environment, stderr=subprocess.PIPE, text=True
    )
    for line in parent.stderr:  # the child's too
        if "Started server" in line:
            break
    (child,) = _children(parent.pid)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end, "a training went on without those who asked for it"
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    return [int(x) for task in Path(f"/proc/{pid}/task").iterdir() for x in (task / "children").read_text().split()]
