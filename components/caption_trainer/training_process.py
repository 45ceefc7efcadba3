"""Training in a process of its own. TensorFlow joins a cluster only in a process that has computed nothing yet, which
no process that runs a pipeline is.

    >>> lead(fn_args)                                    # in the Trainer of the chief: trains there, and exports
    >>> run(arguments, "worker", wanted=lambda: True)    # in every other worker: helps with the same training

What the chief asks for stands in ROOT/workers/job.json as long as it is asked for. A child reads its job from standard
input and answers there, a line of JSON for all that the `memefly` loggers say, and ends when its parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from memefly import provenance
from memefly.errors import FeaturesError, MemeflyError, TrainingError

log = logging.getLogger("memefly.trainer")

WORKERS, CHIEF, JOB = "workers", "chief.json", "job.json"  # under a pipeline's root
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GRACE = 60.0  # seconds for a worker to end by itself when it is wanted no more
_OF_TRAINER = ("transform_output", "train_files", "eval_files", "serving_model_dir", "model_run_dir", "custom_config")


def lead(fn_args) -> None:
    """Trains and exports as the chief of the cluster that TF_CONFIG names; `fn_args` as in `run_fn`. Raises
    `TrainingError` with what stopped it."""
    arguments = {name: getattr(fn_args, name) for name in _OF_TRAINER}
    folder = Path(arguments["custom_config"]["root"]) / WORKERS
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / JOB, {"id": uuid.uuid4().hex, "of": (read(folder / CHIEF) or {}).get("id"), "arguments": arguments})
    log.info("waits for the other workers")
    try:
        run(arguments, "chief")
    finally:
        (folder / JOB).unlink(missing_ok=True)


def run(arguments: dict, role: str, wanted: Callable[[], bool] = lambda: True) -> None:
    """Trains in a process of its own, as `role`: "chief" or "worker". When it is no longer `wanted`, it has a minute to
    end. Raises `TrainingError` with what stopped it."""
    path = os.pathsep.join([str(provenance.place_of("components").parent), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        [sys.executable, "-m", "components.caption_trainer.training_process", role],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert child.stdin and child.stdout  # pipes, as asked for
    threading.Thread(target=_stop_when_unwanted, args=(child, wanted), daemon=True).start()
    error, kind = "", ""
    try:
        with contextlib.suppress(BrokenPipeError):  # of a child that is gone already; its status says so below
            child.stdin.write(json.dumps(arguments))
            child.stdin.close()
        for line in child.stdout:
            said = json.loads(line)
            error, kind = said.get("error", error), said.get("kind", kind)
            if "log" in said:
                log.info("%s", said["log"])
        status = child.wait()
    finally:
        child.kill()
        child.wait()
    if status:
        failed = FeaturesError if kind == FeaturesError.__name__ else TrainingError
        raise failed(error or f"the training process ended with status {status}; the log says why")


def _stop_when_unwanted(child: subprocess.Popen, wanted: Callable[[], bool]) -> None:
    since = None
    while child.poll() is None:
        since = None if wanted() else since or time.monotonic()
        if since and time.monotonic() - since > _GRACE:
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

    from components.caption_trainer.training import help_train, train_and_export

    try:
        {"chief": train_and_export, "worker": help_train}[sys.argv[1]](SimpleNamespace(**arguments))
    except MemeflyError as error:
        print(json.dumps({"error": str(error), "kind": type(error).__name__}), file=out)
        return 1
    return 0


class _Teller(logging.Handler):
    def __init__(self, out):
        super().__init__(logging.INFO)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        print(json.dumps({"log": record.getMessage()}), file=self._out)


def _end_with_parent() -> None:
    """Linux kills this process when the one that started it is gone. Nothing of ours could: while TensorFlow waits for
    workers, no other Python runs."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
