"""Three hosts with a network between them: a worker pool on one, two that train on the others, ROOT and DATA in a
folder that they have in common."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from whole_run import HOME, command

from tests import hosts

pytestmark = [pytest.mark.once, pytest.mark.skipif(bool(hosts.missing()), reason=hosts.missing())]

PYTHON = {"PYTHONPATH": str(HOME), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
RECIPE = {"encoder.batch_size": 1, "training.checkpoint_steps": 1}  # the same results, more slowly
CLUSTER = {"worker": ["chief:2222", "helper:2222"]}


class Pipeline:
    """The same command on both hosts, and what they say of it."""

    def __init__(self, network: hosts.Network, folder: Path, arguments: list[str]):
        self.network, self.folder, self.arguments = network, folder, arguments
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, name: str) -> None:
        task = {"type": "worker", "index": CLUSTER["worker"].index(f"{name}:2222")}
        environment = {**PYTHON, "TF_CONFIG": json.dumps({"cluster": CLUSTER, "task": task})}
        (self.folder / name / "log").unlink(missing_ok=True)
        self.running[name] = self.network.start(name, self.arguments, self.folder / name, environment)

    def said(self, name: str) -> str:
        return (self.folder / name / "log").read_text(encoding="utf-8", errors="replace")

    def wait_for(self, name: str, words: str, timeout: float = 180.0) -> None:
        end = time.monotonic() + timeout
        while words not in self.said(name):
            assert self.running[name].poll() is None, self.said(name)
            assert time.monotonic() < end, f"{name} never said {words!r}:\n{self.said(name)}"
            time.sleep(0.05)

    def end_of(self, name: str, timeout: float = 300.0) -> int:
        try:
            return self.running[name].wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} does not end:\n{self.said(name)}") from None


def settings(recipe: dict) -> list[str]:
    return [word for key, value in recipe.items() for word in ("--set", f"{key}={value}")]


def left(root: Path) -> tuple[dict, list[dict]]:
    """The summary of a run, and the curve of its training."""
    summary = json.loads((root / "runs" / "latest" / "summary.json").read_text())
    newest = max((root / "artifacts" / "Trainer" / "model_run").iterdir(), key=lambda path: int(path.name))
    return summary, json.loads((newest / "history.json").read_text())


def store(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "features").rglob("*.f16")}


def test_each_is_killed_in_the_middle_and_started_again(memes, small_encoder, whole, tmp_path):
    shared = tmp_path / "shared"
    with hosts.several("chief", "helper", "pool") as network:
        engine = ["--runner=PortableRunner", "--job_endpoint=localhost:8099", "--environment_type=EXTERNAL",
                  "--environment_config=pool:50000"]  # fmt: skip
        jobs = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "-p", "8099"]
        network.start("chief", jobs, tmp_path / "jobs", PYTHON)
        serve = [sys.executable, "-m", "pipeline.command", "worker-pool", "--port", "50000"]
        pool = network.start("pool", serve, tmp_path / "pool", PYTHON)
        recipe = {**RECIPE, "training.strategy": "multi_worker"}
        network.wait("localhost", 8099, by="chief")  # Beam's own listens to its own host alone
        network.wait("pool", 50000, by="chief")
        here = [*command(memes, shared, small_encoder, *settings(recipe)), "--to", "Trainer"]
        there = [*here, "--to", "ImageFeatures", *settings({"beam": json.dumps(engine)})]
        pipeline = Pipeline(network, tmp_path, there)

        # The pool, while it encodes.
        pipeline.start("helper")
        pipeline.start("chief")
        while not any((shared / "features").rglob("*.f16")):
            assert pipeline.running["chief"].poll() is None, pipeline.said("chief")
            time.sleep(0.01)
        hosts.kill(pool)
        assert pipeline.end_of("chief", 90) == 1
        assert (
            "ImageFeatures failed on the engine at localhost:8099: the worker pool at pool:50000 answers no more"
            in (pipeline.said("chief"))
        )
        assert pipeline.end_of("helper", 60) == 0
        encoded = len(store(shared))
        assert 0 < encoded < 60, "it was killed in the middle"

        network.start("pool", serve, tmp_path / "pool", PYTHON)
        network.wait("pool", 50000, by="chief")
        pipeline.start("chief")
        assert pipeline.end_of("chief") == 0, pipeline.said("chief")

        # Then each of those that train, while they do.
        pipeline.arguments = here
        pipeline.start("chief")
        pipeline.start("helper")
        pipeline.wait_for("chief", "cross_entropy: epoch 1")
        hosts.kill(pipeline.running["helper"])
        pipeline.wait_for("chief", "the connection to worker 1 was lost")
        pipeline.start("helper")
        pipeline.wait_for("chief", "cross_entropy: epoch 2")
        first = pipeline.said("chief")
        hosts.kill(pipeline.running["chief"])
        pipeline.wait_for("helper", "the connection to worker 0 was lost")
        pipeline.start("chief")
        assert pipeline.end_of("chief") == 0, pipeline.said("chief")
        assert pipeline.end_of("helper", 60) == 0, pipeline.said("helper")
    print(first, pipeline.said("chief"), pipeline.said("helper"), sep="\n---\n")

    # As alone: to the bit up to the features, and but for the order of sums behind them.
    assert store(shared) == store(whole.root)
    (one, curve), (other, alone) = left(shared), left(whole.root)
    assert one["data"]["digests"] == other["data"]["digests"]
    assert len(curve) == len(alone) == 4
    np.testing.assert_allclose([e["loss"] for e in curve], [e["loss"] for e in alone], rtol=1e-4)
    for name in ("val_bleu4", "val_cider"):
        np.testing.assert_allclose([e[name] for e in curve], [e[name] for e in alone], rtol=0.02)


_MEETING = """
import json, sys, time
import tensorflow as tf
from memefly.training.distribution import barrier, lost_worker, make_strategy
strategy = make_strategy("multi_worker")
try:
    while True:
        barrier(strategy)
        print("met", flush=True)
        time.sleep(0.5)
except tf.errors.OpError as error:
    print(lost_worker(error), flush=True)
"""


def test_one_whose_cable_is_pulled_is_missed(tmp_path):
    """Nobody closes the connection: it is noticed by what does not come."""
    with hosts.several("chief", "helper") as network:
        started = []
        for index, name in enumerate(("chief", "helper")):
            task = {"cluster": CLUSTER, "task": {"type": "worker", "index": index}}
            environment = {**PYTHON, "TF_CONFIG": json.dumps(task)}
            started.append(network.start(name, [sys.executable, "-c", _MEETING], tmp_path / name, environment))
        end = time.monotonic() + 120
        while any((tmp_path / name / "log").read_text().count("met") < 3 for name in ("chief", "helper")):
            assert time.monotonic() < end, (tmp_path / "chief" / "log").read_text()
            time.sleep(0.1)
        network.cut("helper")
        cut = time.monotonic()
        for process in started:
            process.wait(120)
            print(f"{time.monotonic() - cut:.0f} s")
    for name, other in (("chief", "worker 1"), ("helper", "worker 0")):
        said = (tmp_path / name / "log").read_text()
        assert f"the connection to {other} was lost" in said or "another worker was lost" in said, said
