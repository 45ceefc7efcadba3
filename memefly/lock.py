"""One command at a time on a root: two would mix their artifacts, and take each other's checkpoints for their own.

>>> with held(root):
...     local_runner.run(config, data, root)
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from memefly.errors import UsageError

log = logging.getLogger("memefly.lock")

FILE = ".lock"


@contextlib.contextmanager
def held(root: str | Path) -> Iterator[None]:
    """Keeps other commands off `root` while the block runs. The system lets go of it with the process, however that
    ends. Raises `UsageError` where another holds it."""
    path = Path(root) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UsageError(
                f"another run or sweep is at work in {root} ({file.read().strip() or 'it does not say which'}); wait "
                "for its end, or take another --root"
            ) from None
        except OSError as error:  # of file systems that know no locks
            log.warning("cannot lock %s (%s): see to it that nothing else runs in this root", path, error.strerror)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
