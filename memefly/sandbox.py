"""Runs a function on bytes from strangers in a process of its own, which may take so much time and memory and no more.

    >>> sandbox = Sandbox("memefly.images:make_plain")
    >>> said, payload = sandbox(data, Limits(seconds=10, megabytes=2000), max_pixels=1000)

The function takes the bytes and keywords that JSON can hold, and returns a dict of such values and bytes. What it
computes with may hang, ask for all the memory there is, crash, or write to standard error: nobody else notices.
Processes start when they are first wanted, one a caller at a time, and serve one call after another; those that
`start` had ready are replaced when they end, before anybody waits for one.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

_WALL = 10  # times the seconds of a processor, on a machine that is busy with other things
_READY = b"ready"


class LimitError(Exception):
    """`limit` is "time", "memory" or "crash"."""

    def __init__(self, limit: str, detail: str):
        super().__init__(detail)
        self.limit = limit


@dataclass(frozen=True)
class Limits:
    """`seconds` are a processor's; `megabytes` come beside what a process has when it is ready."""

    seconds: int
    megabytes: int


class Sandbox:
    """Thread-safe. `function` is MODULE:NAME."""

    def __init__(self, function: str):
        self._function = function
        self._idle: list[_Child] = []
        self._living = self._wanted = 0  # of processes, busy ones too; how many there are to be at least
        self._lock = threading.Lock()
        atexit.register(self.close)
        # A fork has the pipes of the one that it was forked from.
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self, data: bytes, limits: Limits, **arguments: Any) -> tuple[dict, bytes]:
        """What the function returns. Raises `LimitError` where it took too much or its process broke down, RuntimeError
        where it raised something itself, which is a fault of its own, and whatever kept a process from starting."""
        too_long = LimitError("time", f"more than {limits.seconds} seconds of a processor")
        for last in (False, True):
            # What ended one process may end the next: that is one of its own, and the others stay for other callers.
            child = self._new() if last else self._take()
            try:
                answer = child.ask(data, limits, arguments)
            except (EOFError, OSError):
                status = self._end(child)
                if status == -signal.SIGXCPU:
                    raise too_long from None
                if last:  # the first may have been somebody's who kills processes
                    raise LimitError("crash", _death(status)) from None
                continue
            except BaseException:  # it may still answer, and the next caller would hear that
                self._end(child)
                raise
            if answer is None:
                self._end(child)
                raise too_long
            said, payload = answer
            if "fault" in said:
                self._end(child)
                raise RuntimeError(f"a fault in {self._function}:\n{said['fault']}")
            if said.get("limit"):
                self._end(child)  # memory that was given back is not all there again
                raise LimitError(said["limit"], said["detail"])
            with self._lock:
                self._idle.append(child)
            return said, payload
        raise AssertionError("unreachable")

    def start(self, processes: int) -> None:
        """Has so many processes ready, so that no call waits for one, now or after others have ended some."""
        with self._lock:
            self._wanted = processes
        while self._lacking():
            self._refill()

    def close(self) -> None:
        with self._lock:
            idle, self._idle, self._wanted = self._idle, [], 0
            self._living -= len(idle)
        for child in idle:
            child.kill()

    def _take(self) -> _Child:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._new()

    def _new(self) -> _Child:
        with self._lock:
            self._living += 1
        try:
            return _Child(self._function)
        except BaseException:
            with self._lock:
                self._living -= 1
            raise

    def _end(self, child: _Child) -> int:
        """Its exit status; another takes its place, in time for whoever comes next."""
        with self._lock:
            self._living -= 1
        if self._lacking():
            threading.Thread(target=self._replace, name="sandbox", daemon=True).start()
        return child.kill()

    def _replace(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # which the next caller is told, trying the same
            self._refill()

    def _lacking(self) -> bool:
        with self._lock:
            return self._living < self._wanted

    def _refill(self) -> None:
        child = self._new()
        with self._lock:
            if self._wanted:
                self._idle.append(child)
                return
            self._living -= 1  # closed meanwhile
        child.kill()

    def _forget(self) -> None:
        self._idle, self._lock = [], threading.Lock()
        self._living = self._wanted = 0


class _Child:
    def __init__(self, function: str):
        ours, theirs = Pipe()
        home = str(Path(__file__).parents[1])
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # each reserves memory
        environment["PYTHONPATH"] = os.pathsep.join([home, environment.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "memefly.sandbox", str(theirs.fileno()), function]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self._pipe = ours
        try:
            ready = self._pipe.recv_bytes() == _READY
        except (EOFError, OSError):
            ready = False
        assert self._process.stderr  # a pipe, as asked for
        if not ready:
            said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
            raise RuntimeError(
                f"the process for {function} does not start: {said[-1] if said else _death(self.kill())}"
            )
        self._process.stderr.close()  # it writes to nothing from now on

    def ask(self, data: bytes, limits: Limits, arguments: dict) -> tuple[dict, bytes] | None:
        """None where no answer comes at all."""
        self._pipe.send_bytes(json.dumps([asdict(limits), arguments]).encode())
        self._pipe.send_bytes(data)
        if not self._pipe.poll(_WALL * limits.seconds):
            return None
        said = json.loads(self._pipe.recv_bytes())
        return said, self._pipe.recv_bytes()

    def kill(self) -> int:
        """Its exit status, or minus the signal that ended it."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        try:
            return self._process.wait(0.5)  # where it is ending by itself
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _death(status: int) -> str:
    return f"its process was ended by {signal.Signals(-status).name}" if status < 0 else "its process ended"


# --- the child --------------------------------------------------------------------------------------------------------


def main(descriptor: str, function: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, meant for the one that asks
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    nothing = os.open(os.devnull, os.O_WRONLY)
    with Connection(int(descriptor)) as pipe:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        had = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        pipe.send_bytes(_READY)
        os.dup2(nothing, 2)
        while True:
            try:
                (given, arguments), data = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
            except EOFError:
                return
            limits = Limits(**given)
            space = had + len(data) + (limits.megabytes << 20)
            resource.setrlimit(resource.RLIMIT_AS, (space, resource.RLIM_INFINITY))
            spent = resource.getrusage(resource.RUSAGE_SELF)
            until = int(spent.ru_utime + spent.ru_stime) + limits.seconds + 1
            resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
            try:
                said, payload = call(data, **arguments)
            except MemoryError:
                said, payload = {"limit": "memory", "detail": f"more than {limits.megabytes:,} MB"}, b""
            except Exception:
                said, payload = {"fault": traceback.format_exc()}, b""
            pipe.send_bytes(json.dumps(said).encode())
            pipe.send_bytes(payload)
            del data, payload


if __name__ == "__main__":
    main(*sys.argv[1:])
