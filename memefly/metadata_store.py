"""ML Metadata of a ROOT: SQLite in it, or a database on a server, MySQL or MariaDB. Opened without TFX.

>>> with opened("root", writes=False) as (store, protos):
...     store.get_artifacts_by_type("PushedModel")

A server is named by `storage.metadata`, such as mysql://memefly@db.example:3306/memes; its password is no part of that,
and comes from the environment, `MEMEFLY_METADATA_PASSWORD`. A database is one ROOT's: names in it are under ROOT.
"""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memefly import layout
from memefly.errors import ConfigError, UsageError

METADATA = "metadata.sqlite"
PASSWORD = "MEMEFLY_METADATA_PASSWORD"  # the name of the variable, and none itself
_PORT = 3306
_CONNECT = 5.0  # seconds
_OWNER = "memefly.Root"  # the type of the context whose name is that of the ROOT that a database belongs to


def connection(root: str | Path, writes: bool = True) -> Any:
    """An `ml_metadata.proto.ConnectionConfig`; a database of SQLite's is made at the first use. Raises `UsageError`
    where ml_metadata is not installed."""
    there = layout.of(root)
    protos = _protos(str(there.metadata or there.root / METADATA))
    config = protos.ConnectionConfig()
    if not there.metadata:
        modes = protos.SqliteMetadataSourceConfig
        config.sqlite.filename_uri = str(there.root / METADATA)
        config.sqlite.connection_mode = modes.READWRITE_OPENCREATE if writes else modes.READONLY
        return config
    url = parsed(there.metadata)
    server = config.mysql
    server.host, server.port, server.database = url.hostname, url.port or _PORT, url.path[1:]
    server.user, server.password = url.username, os.environ.get(PASSWORD, "")
    return config


def parsed(url: str) -> urllib.parse.SplitResult:
    """Of a server. Raises `ConfigError` where it is none, or has a password in it."""
    found = urllib.parse.urlsplit(url)
    try:
        whole = found.scheme == "mysql" and all((found.hostname, found.username, found.path.strip("/")))
        whole = whole and found.port != 0
    except ValueError:  # of a port that is no number
        whole = False
    if found.scheme in ("postgres", "postgresql"):
        raise ConfigError(
            f"storage.metadata: {_without_password(found)}: ML Metadata's own client for PostgreSQL cannot write text "
            "with a backslash in it, such as JSON in JSON, which components' parameters are; expected a server of "
            "MySQL's or MariaDB's, mysql://USER@HOST:PORT/DATABASE"
        )
    if not whole or found.query or found.fragment or "/" in found.path[1:]:
        raise ConfigError("storage.metadata: expected the server of a database, as mysql://USER@HOST:PORT/DATABASE")
    if found.password is not None:
        raise ConfigError(
            f"storage.metadata: {_without_password(found)} has a password in it, which summaries and W&B would be "
            f"told; take it out, and set {PASSWORD} in the environment"
        )
    return found


def _without_password(url: urllib.parse.SplitResult) -> str:
    account, _, server = url.netloc.rpartition("@")
    return (url._replace(netloc=server) if ":" in account else url).geturl()


def is_there(root: str | Path) -> bool:
    """Whether a ROOT has any: a file, or a server that it names."""
    there = layout.of(root)
    return bool(there.metadata) or (there.root / METADATA).is_file()


def claim(root: str | Path) -> bool:
    """Of a ROOT that names a server: whether its database was nobody's, and is this ROOT's from now on. Raises
    `UsageError` where the server does not let it in, or where the database is another ROOT's."""
    there = layout.of(root)
    with opened(root, writes=True) as (store, protos):
        owners = [one.name for one in store.get_contexts_by_type(_OWNER)] if _has_type(store) else []
        if not owners:
            kind = store.put_context_type(protos.ContextType(name=_OWNER))
            store.put_contexts([protos.Context(type_id=kind, name=there.id)])
            return True
        if there.id not in owners:
            raise UsageError(
                f"the database {there.metadata} belongs to another ROOT, and names in it are under that one; take a "
                f"database of its own for {there.root}"
            )
        return False


def _reach(there: layout.Layout) -> None:
    """Raises `UsageError` where nothing answers: ML Metadata's client would wait for minutes, and not say for what."""
    url = parsed(there.metadata)
    host, port = url.hostname or "", url.port or _PORT
    try:
        socket.create_connection((host, port), timeout=_CONNECT).close()
    except OSError as error:
        raise UsageError(
            f"nothing answers at {host}:{port} ({(error.strerror or str(error)).lower()}), where "
            f"{there.root / layout.FILE} says that ML Metadata is; start the server, or see whether it is reached from "
            "here"
        ) from None


def _has_type(store: Any) -> bool:
    return any(kind.name == _OWNER for kind in store.get_context_types())


@contextlib.contextmanager
def opened(root: str | Path, writes: bool) -> Iterator[tuple[Any, Any]]:
    """The store, and the module of its messages. What it says in the block and before is a `UsageError` that says where
    it is; another process may be at work on it meanwhile."""
    there = layout.of(root)
    where = there.metadata or str(there.root / METADATA)
    protos = _protos(where)
    if there.metadata:
        _reach(there)
    from ml_metadata import errors
    from ml_metadata.metadata_store import metadata_store

    config = connection(root, writes)
    if writes and not there.metadata:
        config.sqlite.connection_mode = protos.SqliteMetadataSourceConfig.READWRITE  # of one that is there
    try:
        yield metadata_store.MetadataStore(config), protos
    except (errors.StatusError, RuntimeError) as error:
        does = "written" if writes else "read"
        # Of a refused password MySQL's client says nothing at all.
        more = (
            f" (does the server know this user, the database, and the password in {PASSWORD}?)"
            if there.metadata
            else ""
        )
        raise UsageError(f"{where} cannot be {does} as ML Metadata{more}: {error}") from None


def _protos(where: str) -> Any:
    try:
        from ml_metadata.proto import metadata_store_pb2
    except ModuleNotFoundError:
        raise UsageError(f"{where} is ML Metadata, which is not installed: pip install 'memefly[pipeline]'") from None
    return metadata_store_pb2
