"""Workers of an engine on this machine: Beam's worker pool, which starts one whenever the engine asks for it.

    >>> with serving(50000):                # until the block ends
    ...     signal.pause()

Workers are processes of this very Python, wherever `python` on PATH leads; they need the storage that ROOT and DATA lie
on, by the same paths.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from memefly import provenance
from memefly.errors import UsageError


@contextlib.contextmanager
def serving(port: int) -> Iterator[str]:
    """HOST:PORT where the pool answers, on all of this machine's addresses. Raises `UsageError` where the port is not
    to be had, or this Python has no `python` beside it."""
    folder = Path(sys.executable).parent
    if not os.access(folder / "python", os.X_OK):
        raise UsageError(
            f"Beam starts workers as `python`, and there is none in {folder}; install memefly in a virtual environment"
        )
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    home = str(provenance.place_of("components").parent)  # a checkout need not be installed
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    try:
        address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True, port=port)
    except RuntimeError as error:
        raise UsageError(f"port {port} is not to be had ({error}); take another one with --port") from None
    if address.endswith(":0"):
        raise UsageError(f"port {port} is not to be had; take another one with --port")
    try:
        yield address
    finally:
        server.stop(0)
