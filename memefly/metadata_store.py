"""ML Metadata of a ROOT, opened without TFX.

>>> with opened("root/metadata.sqlite", writes=False) as (store, protos):
...     store.get_artifacts_by_type("PushedModel")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memefly.errors import UsageError

METADATA = "metadata.sqlite"


@contextlib.contextmanager
def opened(path: Path, writes: bool) -> Iterator[tuple[Any, Any]]:
    """The store, and the module of its messages. What it says in the block and before is a `UsageError` that names the
    file; another process may be at work on it meanwhile."""
    try:
        from ml_metadata import errors
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import metadata_store_pb2 as protos
    except ModuleNotFoundError:
        raise UsageError(f"{path} is ML Metadata, which is not installed: pip install 'memefly[pipeline]'") from None
    config = protos.ConnectionConfig()
    modes = protos.SqliteMetadataSourceConfig
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = modes.READWRITE if writes else modes.READONLY
    try:
        yield metadata_store.MetadataStore(config), protos
    except (errors.StatusError, RuntimeError) as error:
        does = "written" if writes else "read"
        raise UsageError(f"{path} cannot be {does} as ML Metadata: {error}") from None
