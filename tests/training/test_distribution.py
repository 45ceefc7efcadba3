"""Several replicas go the way that one goes with a batch as large as all of theirs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from memefly.errors import TrainingError
from memefly.training.distribution import make_strategy
from tests import ports

pytestmark = pytest.mark.slow

_WORKER = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
strategy, pictures, checkpoints, train, val = sys.argv[1:]
if strategy == "mirrored":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from memefly.training import Examples
from memefly.training.distribution import make_strategy
made = make_strategy(strategy)
from tests.training.toy import CONFIG, examples_of, fit
config = CONFIG.model_copy(update={"epochs": 3, "pictures": int(pictures), "strategy": strategy, "average": 0.9})
result = fit(examples_of([train], [val]), checkpoints, config, strategy=made)
total = float(sum(tf.reduce_sum(tf.abs(v)) for v in result.network.variables))
print(json.dumps({"losses": [h["loss"] for h in result.history], "weights": total, "metrics": result.metrics}))
"""


def start(strategy, pictures, checkpoints, examples, cluster=None):
    environment = {**os.environ, "TF_CONFIG": json.dumps(cluster)} if cluster else dict(os.environ)
    command = [sys.executable, "-c", _WORKER, strategy, str(pictures), str(checkpoints), *examples.train, *examples.val]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def alone(examples, tmp_path_factory) -> dict:
    return answer(start("none", 8, tmp_path_factory.mktemp("alone"), examples))


def same(one: dict, other: dict) -> None:
    np.testing.assert_allclose(one["losses"], other["losses"], rtol=1e-4)
    np.testing.assert_allclose(one["weights"], other["weights"], rtol=1e-4)
    assert one["metrics"]["epoch"] == other["metrics"]["epoch"]
    assert len(set(np.round(one["losses"], 3))) == 3, "losses that never change would agree too"


@pytest.mark.once
def test_two_devices(examples, alone, tmp_path):
    same(answer(start("mirrored", 8, tmp_path, examples)), alone)


def test_two_workers(examples, alone, tmp_path):
    workers = [f"127.0.0.1:{port}" for port in ports.free(2)]
    # Each names the batch of all workers: twice the four pictures that one of them computes.
    processes = [
        start("multi_worker", 8, tmp_path, examples, {"cluster": {"worker": workers}, "task": task})
        for task in ({"type": "worker", "index": 0}, {"type": "worker", "index": 1})
    ]
    try:
        one, two = map(answer, processes)
    finally:
        for process in processes:
            process.kill()
    same(one, alone)
    same(two, alone)


@pytest.mark.once
def test_workers_that_come_too_late_are_told_so(examples, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {}}))
    with pytest.raises(TrainingError, match="Expected TF_CONFIG"):
        make_strategy("multi_worker")


def test_one_replica_is_the_default(examples):
    assert make_strategy("none").num_replicas_in_sync == 1
