"""The loop that every stage of training goes through: steps, checkpoints, validation, early stopping, the best kept.

A stage that was killed and started again goes the way it would have gone: every random choice follows from the seed
and the step it is made at, and how far a stage is lies in the same checkpoint as the weights.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
import tf_keras

from memefly.errors import TrainingError
from memefly.training import averaging
from memefly.training.averaging import MovingAverage
from memefly.training.config import TrainingConfig

log = logging.getLogger(__name__)

_TELL_STEPS = 20
_LOWER = ("bits_a_character",)  # the lower the better


@dataclass(frozen=True)
class Stage:
    """What one stage of training does.

    `batches(epoch, skip)` gives tuples, without the first `skip`; `step(*batch)` trains on one and returns (loss, its
    part that is told of, captions in it). `validate()` returns (metrics, samples).
    """

    name: str
    epochs: int
    patience: int
    steps_an_epoch: int
    batches: Callable[[int, int], Iterable[tuple[tf.Tensor, ...]]]
    step: Callable[..., tuple[float, float, int]]
    validate: Callable[[], tuple[dict, list[dict]]]
    optimizer: tf_keras.optimizers.Optimizer
    average: MovingAverage
    weights: tf.Module  # all that this stage trains, or that belongs to the model it leaves
    is_chief: bool = True  # the one that writes what all read
    barrier: Callable[[], None] = lambda: None  # returns when every worker has called it


class Progress(tf.train.experimental.PythonState):
    """How far a stage is; saved in the same checkpoint as the weights, so that the two never disagree."""

    def __init__(self):
        self.epoch, self.step_in_epoch, self.bad_epochs, self.finished = 0, 0, 0, False
        self.best: dict = {}
        self.history: list[dict] = []
        self.losses: list[float] = []  # of the epoch so far

    def serialize(self) -> str:
        return json.dumps({k: v for k, v in vars(self).items() if not k.startswith("_")})

    def deserialize(self, value: str) -> None:
        for key, stored in json.loads(value).items():
            setattr(self, key, stored)


def run(stage: Stage, config: TrainingConfig, folder: Path, on_event: Callable[[str, dict], None]) -> Progress:
    """Runs a stage, or goes on where `folder` says an earlier call was stopped; leaves the best weights in place.

    Raises `TrainingError` where the loss is no longer finite.
    """
    progress = Progress()
    checkpoint = tf.train.Checkpoint(
        weights=stage.weights, optimizer=stage.optimizer, average=stage.average, progress=progress
    )
    latest = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
    best = tf.train.Checkpoint(weights=stage.weights)
    if latest.restore_or_initialize():
        log.info("%s: resumed at step %d", stage.name, stage.optimizer.iterations.numpy())
    score = config.stop_on

    def save() -> None:
        if stage.is_chief:
            latest.save()

    def judge(values: dict) -> list[dict]:
        """Validates the weights as they are; keeps them if they are the best so far."""
        metrics, samples = stage.validate()
        values.update({f"val_{k}": v for k, v in metrics.items()})
        if not progress.best or _better(score, metrics, progress.best):
            progress.best = {**metrics, "stage": stage.name, "epoch": progress.epoch, "step": values["step"]}
            progress.bad_epochs = 0
            if stage.is_chief:
                best.write(str(folder / "best"))
        else:
            progress.bad_epochs += 1
        return samples

    steps = min(config.max_steps or math.inf, stage.epochs * stage.steps_an_epoch)
    on_event("start", {"stage": stage.name, "steps": steps, "steps_an_epoch": stage.steps_an_epoch})
    done = int(stage.optimizer.iterations.numpy())
    while not progress.finished:
        started, captions = time.monotonic(), 0
        for batch in stage.batches(progress.epoch, progress.step_in_epoch):
            loss, told, count = stage.step(*batch)
            done, progress.step_in_epoch, captions = done + 1, progress.step_in_epoch + 1, captions + count
            progress.losses.append(told)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {done} of stage {stage.name}; try a smaller learning rate "
                    f"(training.learning_rate is {config.learning_rate})"
                )
            if done % _TELL_STEPS == 0:
                rate = float(stage.optimizer.learning_rate.numpy())
                values = {"stage": stage.name, "step": done, "steps": steps, "loss": told, "learning_rate": rate}
                on_event("step", values)
            if config.max_steps and done >= config.max_steps:
                break
            if done % config.checkpoint_steps == 0:
                save()
        trained = time.monotonic() - started
        values = {
            "stage": stage.name,
            "epoch": progress.epoch + 1,
            "step": done,
            "loss": sum(progress.losses) / max(1, len(progress.losses)),
            "learning_rate": float(stage.optimizer.learning_rate.numpy()),
        }
        progress.epoch, progress.step_in_epoch, progress.losses = progress.epoch + 1, 0, []
        with stage.average.applied():
            samples = judge(values)
            if config.average_last > 1 and stage.is_chief:
                best.write(str(folder / f"last-{progress.epoch % config.average_last}"))
        values |= {"seconds": time.monotonic() - started, "captions_per_second": captions / max(1e-9, trained)}
        progress.history.append(values)
        over = progress.epoch >= stage.epochs or bool(config.max_steps and done >= config.max_steps)
        progress.finished = over or progress.bad_epochs >= stage.patience
        save()
        on_event("epoch", {**values, f"best_{score}": progress.best[score], "samples": samples})
    stage.barrier()
    if progress.history and config.average_last > 1 and "averaged" not in progress.best:
        _average_last(stage, progress, best, config, folder, score)
        save()
        stage.barrier()
    best.read(str(folder / "best")).assert_existing_objects_matched()
    return progress


def _average_last(stage: Stage, progress: Progress, best, config: TrainingConfig, folder: Path, score: str) -> None:
    """Tries the mean of the last epochs' weights; it becomes the best if it is."""
    epochs = range(max(1, progress.epoch - config.average_last + 1), progress.epoch + 1)
    snapshots = []
    for epoch in epochs:
        best.read(str(folder / f"last-{epoch % config.average_last}")).expect_partial()
        snapshots.append([v.numpy() for v in stage.weights.variables])
    averaging.assign(stage.weights.variables, averaging.mean(snapshots))
    metrics, _ = stage.validate()
    progress.best["averaged"] = 0
    log.info("%s: mean of the last %d epochs: %s %.4f", stage.name, len(snapshots), score, metrics[score])
    if _better(score, metrics, progress.best):
        progress.best |= {**metrics, "averaged": len(snapshots)}
        if stage.is_chief:
            best.write(str(folder / "best"))


def _better(score: str, metrics: dict, than: dict) -> bool:
    return metrics[score] < than[score] if score in _LOWER else metrics[score] > than[score]


def weights_of(*modules: tf.Module | Sequence[tf.Variable]) -> tf.Module:
    """Several sets of weights as one module."""
    holder = tf.Module(name="weights")
    holder.parts = [list(m.variables) if isinstance(m, tf.Module) else list(m) for m in modules]
    return holder
