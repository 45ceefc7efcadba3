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
                with tempfile.TemporaryFile(dir=folder):
                    pass
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"--root {root}: it, or what is above it, is a file; a folder is wanted there") from None
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be written to ({error.strerror or error}); see to its rights and to the space on its "
                "disk, or take another --root"
            ) from None


def _check_name(root: Path) -> None:
    """TensorFlow takes only UTF-8 for a path, and Beam and TFX take some characters for patterns of several."""
    try:
        text = str(root)
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"--root {os.fsencode(root)!r}: TensorFlow reads only paths that are UTF-8; take another --root"
        ) from None
    if odd := sorted(set(text) & _PATTERNS):
        raise UsageError(
            f"--root {text!r}: {' '.join(map(repr, odd))} would be taken for a pattern of several files; take a --root "
            "without these"
        )
