"""Whether a folder does for a ROOT: its name, and what may be written to it.

>>> check("root")
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from memefly.errors import UsageError
from memefly.exported.manifest import MODEL_NAME

ARTIFACTS = "artifacts"
_WRITTEN = (ARTIFACTS, "runs", "sweeps", "features", "serving", f"serving/{MODEL_NAME}", "wandb")
_PATTERNS = set("*?[]\\\n\r")


def check(root: str | Path) -> None:
    """Makes the folder. Raises `UsageError` where a run could not write what it has to, or libraries not find it."""
    root = Path(root)
    _check_name(root.resolve())
    for folder in (root, *(root / part for part in _WRITTEN)):
        try:
            folder.mkdir(parents=True, exist_ok=True) if folder == root else None
            if folder.exists() and not folder.is_dir():
                raise UsageError(
                    f"{folder} is a file; a folder is wanted there. Take another --root, or move the file away"
                )
            if folder.is_dir():
                _write_to(folder, "--root")
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"--root {root}: it, or what is above it, is a file; a folder is wanted there") from None
        except OSError as error:
            raise _refused(folder, error, "--root") from None


def check_elsewhere(folder: Path, key: str) -> None:
    """Makes a folder that a part of ROOT lies in by the configuration's `key`. Raises `UsageError` as `check` does."""
    _check_name(folder, key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_to(folder, key)
    except OSError as error:
        raise _refused(folder, error, key) from None


def _write_to(folder: Path, what: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(folder, error, what) from None


def _refused(folder: Path, error: OSError, what: str) -> UsageError:
    return UsageError(
        f"{folder} cannot be written to ({error.strerror or error}); see to its rights and to the space on its disk, "
        f"or take another {what}"
    )


def _check_name(root: Path, what: str = "--root") -> None:
    """TensorFlow takes only UTF-8 for a path, and Beam and TFX take some characters for patterns of several."""
    try:
        text = str(root)
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"{what} {os.fsencode(root)!r}: TensorFlow reads only paths that are UTF-8; take another {what}"
        ) from None
    if odd := sorted(set(text) & _PATTERNS):
        raise UsageError(
            f"{what} {text!r}: {' '.join(map(repr, odd))} would be taken for a pattern of several files; take a {what} "
            "without these"
        )
