"""How workers find their chief, and what TF_CONFIG may say. tests/e2e/test_workers.py trains for real."""

import json
import math
import threading
import time

import pytest

from components.caption_trainer import training_process
from memefly.errors import ConfigError, PipelineError, TrainingError, WorkerLostError
from pipeline import cluster
from pipeline import config as configuration

MULTI = configuration.load("tiny", ["training.strategy=multi_worker"])
WAIT = 10.0  # seconds
TWO = {"worker": ["one:1", "two:1"]}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in (("_BEAT", 0.02), ("_LOOK", 0.01)):
        monkeypatch.setattr(cluster, name, seconds)


def task(monkeypatch, members: dict, kind: str, index: int) -> str | None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": members, "task": {"type": kind, "index": index}}))
    return cluster.helper(MULTI)


def test_the_first_is_the_chief_unless_one_is_named(monkeypatch):
    assert task(monkeypatch, TWO, "worker", 0) is None
    assert task(monkeypatch, TWO, "worker", 1) == "worker 1 of worker 0, worker 1"
    named = {"chief": ["zero:1"], **TWO}
    assert task(monkeypatch, named, "chief", 0) is None
    assert task(monkeypatch, named, "worker", 0) == "worker 0 of chief 0, worker 0, worker 1"


def test_without_workers_nothing_is_asked_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", "not even JSON")
    alone = configuration.load("tiny", [])
    assert cluster.helper(alone) is None
    with cluster.leading(alone, tmp_path):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given", ["", "{", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}']
)
def test_a_bad_tf_config_is_told_before_anything_runs(monkeypatch, given):
    monkeypatch.setenv("TF_CONFIG", given)
    with pytest.raises(ConfigError, match=r"Expected .*cluster.* got"):
        cluster.helper(MULTI)


@pytest.fixture
def chief(tmp_path):
    """A chief that does what it is told, in a thread: a job each for a while, and then it is over."""
    threads = []

    def start(jobs, seconds=0.3):
        def lead():
            with cluster.leading(MULTI, tmp_path):
                leader = training_process.read(tmp_path / training_process.WORKERS / training_process.CHIEF)["id"]
                for job in jobs:
                    job = {"of": leader, "training": job["id"], "arguments": {}, **job}
                    training_process.write(tmp_path / training_process.WORKERS / training_process.JOB, job)
                    time.sleep(seconds)
                    (tmp_path / training_process.WORKERS / training_process.JOB).unlink()
                time.sleep(seconds)

        threads.append(threading.Thread(target=lead))
        threads[0].start()

    yield start
    [t.join() for t in threads]


@pytest.fixture
def trained(monkeypatch):
    """What `training_process.run` was asked for; a job that says `fail` fails, one that says `lost` loses another."""
    asked = []

    def run(arguments, role, remaining):
        assert role == "worker" and remaining() == math.inf
        asked.append(arguments)
        if arguments.get("fail"):
            raise TrainingError("the loss is nan")
        if arguments.get("lost"):
            raise WorkerLostError("the connection to worker 2 was lost (Connection reset by peer)")

    monkeypatch.setattr(training_process, "run", run)
    return asked


def test_every_training_of_the_chief_once_and_no_other(chief, trained, tmp_path):
    jobs = [{"id": "a", "arguments": {"n": 1}}, {"id": "b", "of": "another chief"}, {"id": "c", "arguments": {"n": 2}}]
    chief(jobs)
    cluster.follow(tmp_path, "worker 1", WAIT)
    assert trained == [{"n": 1}, {"n": 2}]
    assert not list((tmp_path / training_process.WORKERS).iterdir())


def test_after_one_that_fails_it_helps_with_the_next(chief, trained, tmp_path):
    chief([{"id": "a", "arguments": {"fail": True}}, {"id": "b", "arguments": {"n": 2}}])
    with pytest.raises(TrainingError, match="nan"):
        cluster.follow(tmp_path, "worker 1", WAIT)
    assert trained == [{"fail": True}, {"n": 2}]


def test_a_training_that_lost_another_worker_is_helped_with_again(chief, trained, tmp_path):
    chief([
        {"id": "a", "training": "t", "arguments": {"lost": True}},
        {"id": "b", "training": "t", "arguments": {"n": 2}},
    ])  # fmt: skip
    cluster.follow(tmp_path, "worker 1", WAIT)
    assert trained == [{"lost": True}, {"n": 2}]


def test_one_that_was_lost_and_given_up_is_told_of(chief, trained, tmp_path):
    chief([{"id": "a", "arguments": {"lost": True}}])
    with pytest.raises(WorkerLostError, match="worker 2 was lost"):
        cluster.follow(tmp_path, "worker 1", WAIT)


def test_a_chief_that_never_comes_is_told_of(tmp_path, trained):
    with pytest.raises(PipelineError, match=r"worker 1: no chief has come to .* in 0\.3 seconds"):
        cluster.follow(tmp_path, "worker 1", 0.3)


def test_what_was_asked_before_is_given_up_at_once_where_the_chief_asks_anew(chief, tmp_path, monkeypatch):
    left = []

    def run(arguments, role, remaining):
        while remaining() == math.inf:
            time.sleep(0.01)
        left.append(remaining())
        raise WorkerLostError("gone")

    monkeypatch.setattr(training_process, "run", run)
    chief([{"id": "a", "training": "t"}], seconds=1.0)
    folder = tmp_path / training_process.WORKERS

    def follow():
        with pytest.raises(WorkerLostError, match="gone"):
            cluster.follow(tmp_path, "worker 1", WAIT)

    helper = threading.Thread(target=follow)
    helper.start()
    while not (folder / training_process.JOB).exists():
        time.sleep(0.01)
    time.sleep(0.3)
    job = training_process.read(folder / training_process.JOB)
    training_process.write(folder / training_process.JOB, {**job, "id": "b"})
    helper.join(10)
    assert left == [0.0, training_process.GRACE], "anew, then over"


def test_what_a_killed_chief_left_is_no_chief(chief, trained, tmp_path):
    folder = tmp_path / training_process.WORKERS
    folder.mkdir()
    training_process.write(folder / training_process.CHIEF, {"id": "dead"})
    training_process.write(folder / training_process.JOB, {"id": "old", "of": "dead", "arguments": {"n": 0}})
    helper = threading.Thread(target=cluster.follow, args=(tmp_path, "worker 1", WAIT))
    helper.start()
    time.sleep(0.2)
    assert helper.is_alive() and trained == []
    chief([{"id": "a", "arguments": {"n": 1}}])
    helper.join(10)
    assert trained == [{"n": 1}]


def test_a_chief_that_was_killed_and_started_again_is_helped(chief, trained, tmp_path):
    folder = tmp_path / training_process.WORKERS
    folder.mkdir()
    helper = threading.Thread(target=cluster.follow, args=(tmp_path, "worker 1", WAIT))
    helper.start()
    training_process.write(folder / training_process.CHIEF, {"id": "killed"})  # and touched no more
    time.sleep(0.2)
    chief([{"id": "a", "arguments": {"n": 1}}])
    helper.join(10)
    assert trained == [{"n": 1}]


def test_a_chief_that_falls_silent_is_told_of(tmp_path, trained):
    folder = tmp_path / training_process.WORKERS
    folder.mkdir()
    beats = threading.Thread(
        target=lambda: [
            training_process.write(folder / training_process.CHIEF, {"id": "c"}) or time.sleep(0.05) for _ in range(5)
        ]
    )
    beats.start()
    with pytest.raises(PipelineError, match=r"no sign of life for 0\.5 seconds"):
        cluster.follow(tmp_path, "worker 1", 0.5)
    beats.join()
