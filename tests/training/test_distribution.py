"""Several replicas go the way that one goes with a batch as large as all of theirs."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from memefly import networks
from memefly.errors import TrainingError
from memefly.training import losses
from memefly.training.distribution import lost_worker, make_strategy, share
from tests import ports
from tests.training.toy import NETWORK, SHAPE, VOCABULARY

pytestmark = pytest.mark.slow
PICTURES = 7  # of two replicas one has a picture less; of the last batch of 48, each has three

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
    return answer(start("none", PICTURES, tmp_path_factory.mktemp("alone"), examples))


def same(one: dict, other: dict) -> None:
    np.testing.assert_allclose(one["losses"], other["losses"], rtol=1e-4)
    np.testing.assert_allclose(one["weights"], other["weights"], rtol=1e-4)
    assert one["metrics"]["epoch"] == other["metrics"]["epoch"]
    assert len(set(np.round(one["losses"], 3))) == 3, "losses that never change would agree too"


@pytest.mark.once
def test_two_devices(examples, alone, tmp_path):
    same(answer(start("mirrored", PICTURES, tmp_path, examples)), alone)


def test_two_workers(examples, alone, tmp_path):
    workers = [f"127.0.0.1:{port}" for port in ports.free(2)]
    # Each names the batch of all workers.
    processes = [
        start("multi_worker", PICTURES, tmp_path, examples, {"cluster": {"worker": workers}, "task": task})
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


def test_what_a_batch_lacks_to_be_shared_out_is_filled_with_nothing():
    strategy = SimpleNamespace(
        num_replicas_in_sync=3,
        experimental_distribute_values_from_function=lambda of: [
            of(SimpleNamespace(replica_id_in_sync_group=i)).numpy().tolist() for i in range(3)
        ],
    )
    pictures, tokens = tf.constant([[1.0], [2.0]]), tf.constant([[[1, 5, 2]], [[1, 6, 2]]])
    shown, said = share(strategy, pictures, tokens)
    assert shown == [[[1.0]], [[2.0]], [[2.0]]]
    assert said == [[[[1, 5, 2]]], [[[1, 6, 2]]], [[[0, 0, 0]]]]


@pytest.mark.parametrize("kind", ["attention", "par_inject", "merge", "transformer"])
def test_a_replica_without_a_caption_learns_nothing_and_harms_nothing(kind):
    network = networks.build_trained(NETWORK.model_copy(update={"kind": kind}), len(VOCABULARY), SHAPE, seed=0)
    features, tokens = tf.ones([1, *SHAPE]), tf.zeros([1, 3, 6], tf.int32)
    with tf.GradientTape() as tape:
        logits, alphas = network.teacher_forced(features, tokens, training=True, noise=(0, 0))
        loss, _ = losses.caption_loss(
            logits, alphas, tokens, losses.Counts(tf.constant(9.0), tf.constant(3.0)), attention_penalty=1.0
        )
    gradients = tape.gradient(loss, network.trainable_variables)
    assert float(loss) == 0.0
    assert all(g is None or not np.any(tf.convert_to_tensor(g)) for g in gradients)


@pytest.mark.parametrize(
    "error, said",
    [
        (tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed\nAdditional GRPC error "
            "information from remote target /job:worker/replica:0/task:2 while calling"),
         "the connection to worker 2 was lost (Socket closed)"),
        (tf.errors.AbortedError(None, None, "restarted"), "the connection to another worker was lost (restarted)"),
        (tf.errors.InvalidArgumentError(None, None, "/job:worker/replica:0/task:2: a bad shape"), None),
        (ValueError("no"), None),
    ],
)  # fmt: skip
def test_what_is_about_other_workers_is_told_from_what_is_not(error, said):
    lost = lost_worker(error)
    assert (str(lost) if lost else None) == said


def test_one_replica_is_the_default(examples):
    assert make_strategy("none").num_replicas_in_sync == 1
