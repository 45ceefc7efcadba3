"""Keeps a terminal readable: what libraries say goes to a log file, what we say to the terminal.

    >>> with Quiet(Path("run.log")) as terminal:
    ...     print("one line an event", file=terminal.out)

TensorFlow, Beam and gRPC write to file descriptors 1 and 2 from C++ too, so these are redirected, not only Python's
streams. They stay redirected: destructors speak up when the process ends.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path


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
