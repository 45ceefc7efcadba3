"""Files that appear whole, or not at all.

>>> replace("root/serving/models.config", "model_config_list { … }")
"""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: str | Path, content: str | bytes) -> None:
    """Writes a file through to the disk and puts it in its place by one rename: who reads it, or comes after a kill,
    finds it as it was or as it is to be. Text is UTF-8."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
