"""Keeps a terminal readable: what libraries say goes to a log file, what we say to the terminal.

    >>> with Quiet(Path("run.log")) as terminal:
    ...     print("one line an event", file=terminal.out)

TensorFlow, Beam and gRPC write to file descriptors 1 and 2 from C++ too, so these are redirected, not only Python's
streams. They stay redirected: destructors speak up when the process ends.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import tempfile
from pathlib import Path


def import_tensorflow() -> None:
    """Imports TensorFlow, and from then on leaves the terminal to Python: 2.21 writes from C++ that it found no GPU and
    which kernels it has, whatever TF_CPP_MIN_LOG_LEVEL is, and its decoders what they think of a JPEG. Where the import
    fails, all of it is told; if the process crashes, so is where in Python it was."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            said.seek(0)
            os.write(before, said.read())
            raise
        finally:
            os.dup2(before, 2)
    if _is_terminal_or_file(sys.stderr):
        sys.stderr = os.fdopen(before, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        faulthandler.enable(sys.stderr)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
    else:
        os.close(before)


def _is_terminal_or_file(stream) -> bool:
    """Whether a stream of Python's writes to the process's own standard error, and not into somebody's buffer."""
    try:
        return stream is not None and stream.fileno() == 2 and stream is sys.__stderr__
    except (OSError, ValueError):  # of those without a file, or closed
        return False


class Quiet:
    """`out` and `err` write to where standard output and error went before."""

    def __init__(self, log_file: Path):
        self._path = log_file

    def __enter__(self) -> Quiet:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        self.err = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8")
        log = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        logging.basicConfig(
            stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
        )
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None:
            logging.getLogger(__name__).error("stopped", exc_info=(kind, error, trace))
        self.out.flush()
        self.err.flush()
