"""Several workers that train one model (`training.strategy=multi_worker`): the same command is started on each, with
TF_CONFIG as tf.distribute defines it. The chief runs the pipeline; the others do their share of its training.

    >>> if place := helper(config): follow(root, place)
    ... else:
    ...     with leading(config, root): …

They find each other in ROOT/workers, on the file system they have in common: the chief touches a file as long as it
runs, and names there what it trains. Nothing depends on their clocks agreeing. One that was killed is waited for, for
`workers.wait_seconds`: started again, it takes up its part.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from components.caption_trainer import training_process
from components.caption_trainer.training_process import CHIEF, JOB, WORKERS
from memefly.errors import ConfigError, PipelineError, TrainingError, WorkerLostError
from memefly.training.distribution import leads
from pipeline.config import PipelineConfig

log = logging.getLogger("memefly.cluster")

_BEAT, _LOOK = 1.0, 0.5  # seconds between signs of life, and between looks for them


def helper(config: PipelineConfig) -> str | None:
    """ "worker 1 of worker 0, worker 1" or the like, where TF_CONFIG makes this process one that helps the chief; None
    where it is the chief, or alone. Raises `ConfigError` where TF_CONFIG does not say."""
    if config.training.strategy != "multi_worker":
        return None
    given = os.environ.get("TF_CONFIG", "")
    try:
        parsed = json.loads(given)
        cluster, task = parsed["cluster"], parsed["task"]
        kind, index = task["type"], int(task["index"])
        members = [f"{name} {i}" for name in cluster for i in range(len(cluster[name]))]
        if f"{kind} {index}" not in members:
            raise ValueError(f"its task, {kind} {index}, is none of its cluster ({', '.join(members)})")
    except (ValueError, KeyError, TypeError) as error:
        example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
        raise ConfigError(
            f"training.strategy is multi_worker, but TF_CONFIG does not say who the workers are ({error!r}). Expected "
            f"{example} with the index of each, got {given!r}; on one machine, set training.strategy=mirrored or none"
        ) from None
    if leads(kind, index, cluster):
        return None
    return f"{kind} {index} of {', '.join(members)}"


@contextlib.contextmanager
def leading(config: PipelineConfig, root: str | Path) -> Iterator[None]:
    """Shows the other workers that the chief is there, while the block runs; nothing to do without workers."""
    if config.training.strategy != "multi_worker":
        yield
        return
    path, over = Path(root) / WORKERS / CHIEF, threading.Event()
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / JOB).unlink(missing_ok=True)  # of a chief that was killed
    training_process.write(path, {"id": uuid.uuid4().hex, "wait_seconds": config.workers.wait_seconds})

    def beat() -> None:
        while not over.wait(_BEAT):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        path.unlink(missing_ok=True)


def follow(root: str | Path, place: str, wait: float) -> None:
    """Waits for the chief, helps with all that it trains, and returns when its run is over. Raises `TrainingError` at
    the end where a training failed, `PipelineError` where the chief gives no sign of life for `wait` seconds."""
    folder, done = Path(root) / WORKERS, set()
    failures: dict[str, TrainingError] = {}  # of the chief that is there now, by training
    led = None
    log.info("%s: waits for the chief to run on %s", place, root)
    chief = _Pulse(folder / CHIEF, wait)
    end = time.monotonic() + wait
    while not chief.beats():
        if time.monotonic() > end:
            raise PipelineError(
                "Trainer",
                f"{place}: no chief has come to {root} in {wait:g} seconds (workers.wait_seconds). Expected the same "
                "command to be started where TF_CONFIG has the chief, or the first worker, on the same ROOT",
            )
        time.sleep(_LOOK)
    log.info("%s: the chief is there; waits for its Trainer", place)
    while chief.beats():
        # Of the chief that is there now: it may have been killed and started again.
        leader, job = training_process.read(folder / CHIEF), training_process.read(folder / JOB)
        if leader and leader["id"] != led:
            led = leader["id"]
            failures.clear()
        if leader and job and job["of"] == leader["id"] and job["id"] not in done:
            done.add(job["id"])
            log.info("%s: trains", place)

            def remaining(asked=job) -> float:
                if not chief.beats():
                    return training_process.GRACE
                now = training_process.read(folder / JOB)
                if now == asked:
                    return math.inf
                return 0.0 if now else training_process.GRACE  # the chief began anew without it, or is done

            try:
                training_process.run(job["arguments"], "worker", remaining=remaining)
                failures.pop(job["training"], None)
                log.info("%s: done with this training", place)
            except WorkerLostError as error:
                failures[job["training"]] = error
                log.warning("%s: %s; waits for the chief to go on", place, error)
            except TrainingError as error:  # the chief knows; it may have another one, as a sweep has
                failures[job["training"]] = error
                log.warning("%s: this training failed: %s", place, error)
        time.sleep(_LOOK)
    if (folder / CHIEF).exists():
        raise PipelineError(
            "Trainer",
            f"{place}: the chief has given no sign of life for {wait:g} seconds (workers.wait_seconds); start it "
            "again, and then this one",
        )
    log.info("%s: the chief's run is over", place)
    for failure in failures.values():
        raise failure


class _Pulse:
    """Whether a file is being touched: a change was seen, and no longer than `patience` seconds ago."""

    def __init__(self, path: Path, patience: float):
        self._path, self._patience = path, patience
        self._last = self._touched()
        self._changed: float | None = None

    def _touched(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def beats(self) -> bool:
        now = self._touched()
        if now != self._last:
            self._last, self._changed = now, time.monotonic()
        return now is not None and self._changed is not None and time.monotonic() - self._changed < self._patience
