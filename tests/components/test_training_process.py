"""The chief's side of a training by several workers: who does not come, and who is lost. tests/e2e/test_hosts.py kills
real ones."""

import json
import socket
from types import SimpleNamespace

import pytest

from components.caption_trainer import training_process
from components.caption_trainer.training_process import JOB, WORKERS
from memefly.errors import TrainingError, WorkerLostError
from tests import ports


@pytest.fixture
def fn_args(tmp_path):
    (tmp_path / WORKERS).mkdir()
    training_process.write(tmp_path / WORKERS / training_process.CHIEF, {"id": "chief", "wait_seconds": 5})
    config = {"root": str(tmp_path), "training": {"strategy": "multi_worker"}, "devices": {}}
    return SimpleNamespace(**dict.fromkeys(training_process._OF_TRAINER, "") | {"custom_config": config})


@pytest.fixture
def outcomes(monkeypatch, tmp_path):
    """Of the trainings that the chief starts, one after another: an error, or None; `asked` has their jobs."""
    left, asked = [], []

    def run(arguments, role, *, wait):
        assert role == "chief" and wait == 5
        asked.append(training_process.read(tmp_path / WORKERS / JOB))
        outcome = left.pop(0)
        if callable(outcome):
            outcome = outcome()
        if outcome:
            raise outcome

    monkeypatch.setattr(training_process, "run", run)
    return SimpleNamespace(left=left, asked=asked)


LOST = WorkerLostError("the connection to worker 1 was lost (Socket closed)")


def test_one_that_is_lost_is_waited_for(fn_args, outcomes, tmp_path):
    outcomes.left += [LOST, LOST, None]
    training_process.lead(fn_args)
    assert len({job["id"] for job in outcomes.asked}) == 3, "whoever helped with one may help with the next"
    assert len({job["training"] for job in outcomes.asked}) == 1
    assert not (tmp_path / WORKERS / JOB).exists()


def test_the_third_loss_without_a_checkpoint_between_is_no_accident(fn_args, outcomes, tmp_path):
    outcomes.left += [LOST, LOST, LOST]
    with pytest.raises(WorkerLostError, match=r"worker 1 was lost .*, 3 times in a row without a checkpoint"):
        training_process.lead(fn_args)
    assert not (tmp_path / WORKERS / JOB).exists()


def test_with_checkpoints_between_it_may_be_lost_as_often_as_it_likes(fn_args, outcomes, tmp_path):
    written = iter(range(10))

    def after_a_checkpoint():
        folder = tmp_path / "checkpoints" / "key" / f"stage{next(written)}"
        folder.mkdir(parents=True)
        (folder / "checkpoint").touch()
        return LOST

    outcomes.left += [after_a_checkpoint] * 5 + [None]
    training_process.lead(fn_args)
    assert len(outcomes.asked) == 6


def test_what_else_stops_a_training_stops_the_chief(fn_args, outcomes):
    outcomes.left.append(TrainingError("the loss is nan"))
    with pytest.raises(TrainingError, match="nan"):
        training_process.lead(fn_args)


def test_one_that_does_not_come_back_is_named(fn_args, outcomes):
    outcomes.left += [LOST, training_process._MissingError({"worker 1 (b:1)": "connection refused"})]
    with pytest.raises(WorkerLostError) as told:
        training_process.lead(fn_args)
    assert str(told.value).startswith("worker 1 (b:1) was lost, and did not come back within 5 seconds")
    assert "connection refused" in str(told.value)


def test_one_that_never_comes_ends_the_training_within_the_time_that_is_set(fn_args, monkeypatch, tmp_path):
    """For real: TensorFlow waits for it, and no Python runs meanwhile."""
    one, two = ports.free(2)
    cluster = {"cluster": {"worker": [f"127.0.0.1:{one}", f"127.0.0.1:{two}"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(WorkerLostError) as told:
        training_process.lead(fn_args)
    assert str(told.value).startswith(f"worker 1 (127.0.0.1:{two}) did not come (workers.wait_seconds=5; worker 1")
    assert "connection refused" in str(told.value) and "the same TF_CONFIG but for its task" in str(told.value)


def test_one_that_answers_and_does_not_join_is_another_matter(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        cluster = {"cluster": {"worker": ["a:1", address]}, "task": {"type": "worker", "index": 0}}
        assert training_process._missing(json.dumps(cluster)) == {}
    assert "all workers answer" in training_process._MissingError({}).told("did not come", 5)


def test_an_address_that_is_none_is_told_of():
    cluster = {
        "cluster": {"worker": ["a:1", "no.such.host.invalid:1", "nothing"]},
        "task": {"type": "worker", "index": 0},
    }
    missing = training_process._missing(json.dumps(cluster))
    assert list(missing) == ["worker 1 (no.such.host.invalid:1)", "worker 2 (nothing)"]
    assert "expected HOST:PORT" in missing["worker 2 (nothing)"]
