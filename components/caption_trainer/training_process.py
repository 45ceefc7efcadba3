"""Training in a process of its own. TensorFlow joins a cluster only in a process that has computed nothing yet, which
no process that runs a pipeline is.

    >>> lead(fn_args)                                    # in the Trainer of the chief: trains there, and exports
    >>> run(arguments, "worker")                         # in every other worker: helps with the same training

What the chief asks for stands in ROOT/workers/job.json as long as it is asked for. A child reads its job from standard
input and answers there, a line of JSON for all that the `memefly` loggers say, and ends when its parent does.

A process that lost one of the others cannot go on: TensorFlow lets nobody back in. So all end, the chief asks for the
same training once more, and whoever is there takes it up from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from memefly import provenance
from memefly.errors import FeaturesError, MemeflyError, TrainingError, WorkerLostError

log = logging.getLogger("memefly.trainer")

WORKERS, CHIEF, JOB = "workers", "chief.json", "job.json"  # under a pipeline's root
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE = 60.0  # seconds for a worker to end by itself when it is wanted no more
_WAIT = 600.0  # seconds for the others, where the chief's file does not say
_CONNECT = 3.0  # seconds
_LOSSES = 3  # in a row and without a checkpoint between them: then it is no accident
_CODES = {error.__name__: error for error in (FeaturesError, WorkerLostError)}
_OF_TRAINER = ("transform_output", "train_files", "eval_files", "serving_model_dir", "model_run_dir", "custom_config")


def lead(fn_args) -> None:
    """Trains and exports as the chief of the cluster that TF_CONFIG names; `fn_args` as in `run_fn`. A worker that is
    lost in the middle is waited for. Raises `WorkerLostError` where one did not come (back) within the time that the
    chief's file names, `TrainingError` with what else stopped it."""
    arguments = {name: getattr(fn_args, name) for name in _OF_TRAINER}
    root = Path(arguments["custom_config"]["root"])
    folder = root / WORKERS
    folder.mkdir(parents=True, exist_ok=True)
    leader = read(folder / CHIEF) or {}
    wait = leader.get("wait_seconds", _WAIT)
    job = {"training": uuid.uuid4().hex, "of": leader.get("id"), "arguments": arguments}
    losses, saved = 0, _checkpoints(root)
    try:
        while True:
            write(folder / JOB, {**job, "id": uuid.uuid4().hex})
            log.info("waits for the other workers, %g seconds at most", wait)
            try:
                run(arguments, "chief", wait=wait)
                return
            except _MissingError as error:
                came = f"was lost, and did not come back within {wait:g} seconds" if losses else "did not come"
                raise WorkerLostError(error.told(came, wait)) from None
            except WorkerLostError as error:
                before, saved = saved, _checkpoints(root)
                losses = 1 if saved != before else losses + 1
                if losses == _LOSSES:
                    raise WorkerLostError(
                        f"{error}, {losses} times in a row without a checkpoint between. The logs of the workers say "
                        "why; run again when that is mended, it goes on from the last checkpoint"
                    ) from None
                log.warning("%s; goes on from the last checkpoint as soon as all are there", error)
    finally:
        (folder / JOB).unlink(missing_ok=True)


class _MissingError(WorkerLostError):
    """By the name of a worker that did not come: why, as far as can be seen from here."""

    def __init__(self, missing: dict[str, str]):
        super().__init__(", ".join(missing))
        self._missing = missing

    def told(self, came: str, wait: float) -> str:
        if not self._missing:
            return (
                f"all workers answer at the addresses of TF_CONFIG, but they did not join within {wait:g} seconds "
                "(workers.wait_seconds): is TF_CONFIG the same on each but for its task, is memefly the same, and can "
                "each reach the addresses of the others? Run again when they can: nothing is lost"
            )
        each = "; ".join(f"{name}: {why}" for name, why in self._missing.items())
        return (
            f"{', '.join(self._missing)} {came} (workers.wait_seconds={wait:g}; {each}). Expected the same command to "
            "be started there, with the same TF_CONFIG but for its task and on the same ROOT, and the address to be "
            "reached from here. Run again when it is there: it goes on where it was"
        )


def _missing(given: str) -> dict[str, str]:
    """Of the workers that TF_CONFIG names, by name: why one does not answer. They listen as soon as they come."""
    parsed, missing = json.loads(given), {}
    own = (parsed["task"]["type"], int(parsed["task"]["index"]))
    for kind, addresses in parsed["cluster"].items():
        for index, address in enumerate(addresses):
            host, _, port = address.rpartition(":")
            try:
                if (kind, index) != own:
                    socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()
            except ValueError:
                missing[f"{kind} {index} ({address})"] = "expected HOST:PORT"
            except OSError as error:
                missing[f"{kind} {index} ({address})"] = (error.strerror or str(error)).lower()
    return missing


def _checkpoints(root: Path) -> dict[str, int]:
    """When each of ROOT's was written last."""
    return {str(path): path.stat().st_mtime_ns for path in (root / "checkpoints").glob("*/*/checkpoint")}


def run(
    arguments: dict, role: str, *, wait: float = math.inf, remaining: Callable[[], float] = lambda: math.inf
) -> None:
    """Trains in a process of its own, as `role`: "chief" or "worker", which is killed where not all workers are there
    after `wait` seconds, and where it is still there `remaining()` seconds after that first was a finite number. Raises
    `WorkerLostError` where another worker did not come or is gone, else `TrainingError` with what stopped it."""
    path = os.pathsep.join([str(provenance.place_of("components").parent), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        [sys.executable, "-m", "components.caption_trainer.training_process", role],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert child.stdin and child.stdout  # pipes, as asked for
    joined, late = threading.Event(), threading.Event()
    threading.Thread(target=_stop_when_unwanted, args=(child, remaining), daemon=True).start()
    threading.Thread(target=_stop_when_late, args=(child, wait, joined, late), daemon=True).start()
    error, kind = "", ""
    try:
        with contextlib.suppress(BrokenPipeError):  # of a child that is gone already; its status says so below
            child.stdin.write(json.dumps(arguments))
            child.stdin.close()
        for line in child.stdout:
            said = json.loads(line)
            error, kind = said.get("error", error), said.get("kind", kind)
            if said.get("joined"):
                joined.set()
            if "log" in said:
                log.info("%s", said["log"])
        status = child.wait()
    finally:
        child.kill()
        child.wait()
        joined.set()
    if late.is_set():
        raise _MissingError(_missing(os.environ["TF_CONFIG"]))
    if status:
        failed = _CODES.get(kind, TrainingError)
        raise failed(error or f"the training process ended with status {status}; the log says why")


def _stop_when_late(child: subprocess.Popen, wait: float, joined: threading.Event, late: threading.Event) -> None:
    if not joined.wait(min(wait, threading.TIMEOUT_MAX)):
        late.set()
        child.kill()


def _stop_when_unwanted(child: subprocess.Popen, remaining: Callable[[], float]) -> None:
    since = None
    while child.poll() is None:
        left = remaining()
        since = None if left == math.inf else since or time.monotonic()
        if since and time.monotonic() - since >= left:
            child.kill()  # TensorFlow catches what is gentler
        time.sleep(1.0)


def read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write(path: Path, content: dict) -> None:
    """Whole, or not at all: others read it meanwhile."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)


# --- the child --------------------------------------------------------------------------------------------------------


def main() -> int:
    _end_with_parent()
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is for the log
    arguments = json.load(sys.stdin)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, force=True)
    logging.getLogger("memefly").addHandler(_Teller(out))

    import tensorflow as tf

    from components.caption_trainer.training import help_train, train_and_export
    from memefly.training.distribution import lost_worker

    failure: Exception | None = None
    lost = False
    try:
        {"chief": train_and_export, "worker": help_train}[sys.argv[1]](SimpleNamespace(**arguments))
    except MemeflyError as error:
        failure = error
    except tf.errors.OpError as error:
        failure, lost = lost_worker(error), True
        if failure is None:
            raise
        logging.exception("lost another worker")
    if failure is None:
        return 0
    print(json.dumps({"error": str(failure), "kind": type(failure).__name__}), file=out, flush=True)
    if lost:
        os._exit(1)  # TensorFlow would wait for those that are gone
    return 1


class _Teller(logging.Handler):
    def __init__(self, out):
        super().__init__(logging.INFO)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        joined = {"joined": True} if getattr(record, "joined", False) else {}
        print(json.dumps({"log": record.getMessage(), **joined}), file=self._out)


def _end_with_parent() -> None:
    """Linux kills this process when the one that started it is gone. Nothing of ours could: while TensorFlow waits for
    workers, no other Python runs."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
