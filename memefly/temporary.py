"""One folder for all that libraries leave in the temporary folder, which goes with the process.

>>> temporary.settle()

TensorFlow writes there what autograph made of functions, Beam its staging, W&B the pictures of tables; what is killed
never takes them away. So the folder is locked while its process lives, and the next process removes those that nobody
holds. Cleaners such as systemd's leave a locked one alone.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

# Of names that nobody else takes: what is left under such a one is removed.
_PREFIX = ".memefly-temporary-"
_UNLOCKED = ".memefly-not-locked-"

_ours: list[tuple[Path, int]] = []  # the folder of this process, and the descriptor that holds its lock


def settle() -> Path | None:
    """From here on this process, and those that it starts, keep their temporary files in a folder of their own: the one
    that it returns, or that of the process that started this one. None where no temporary folder can be written to."""
    if _ours:
        return _ours[0][0]
    try:
        home = Path(tempfile.gettempdir())
        if home.name.startswith(_PREFIX):
            if not _is_left(home):
                return home
            home = home.parent
        _remove_what_was_left(home)
        made = Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=home))
        lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # of a file system that knows no locks: there nothing is removed later
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = made.with_name(_PREFIX + made.name.removeprefix(_UNLOCKED))
        made.rename(folder)
    except OSError:
        return None
    _ours.append((folder, lock))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    for library in ("KERAS_HOME", "MPLCONFIGDIR"):  # or they write to the user's home what they find again in a moment
        os.environ.setdefault(library, str(folder))
    # The first that is registered is the last that is called: after that of TensorFlow, which writes there until then.
    atexit.register(_remove, os.getpid())
    return folder


def _remove(process: int) -> None:
    if os.getpid() == process:  # and not one that was forked from it
        for folder, lock in _ours:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
        _ours.clear()


def _remove_what_was_left(home: Path) -> None:
    for folder in home.glob(f"{_PREFIX}*"):
        if _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether it is one of this user's, which no process holds any more."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
