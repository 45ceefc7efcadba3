"""Whether W&B's server takes runs: asked once a process, within seconds, before anything depends on it.

A server that is out of reach is no error: runs are then tracked offline, which is told once. What only the user can put
right is one: a mode or a project that W&B does not know, a key or an entity that its server does not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from memefly import temporary
from memefly.errors import UsageError

log = logging.getLogger("memefly.tracking")

ONLINE = ("online", "shared", "run")  # the modes that want a server; `run` is what online was called once
PATIENCE = 5.0  # seconds, for one question

_Answer = TypeVar("_Answer")

_VIEWER = "query Viewer { viewer { id } }"
_ENTITY = "query Entity($name: String!) { entity(name: $name) { id } }"

# By what was asked of (server, key and entity), why that server cannot be had; None where it can.
_found: dict[tuple[str | None, ...], str | None] = {}


class OutOfReach(Exception):
    """What the server does instead of answering, as what follows "W&B"."""


def check(root: str | Path) -> str:
    """The mode that a run started now is tracked in: one of W&B's, `offline` where its server is out of reach.

    Raises `UsageError` where WANDB_MODE or WANDB_PROJECT is not what W&B takes, or its server does not know the key in
    WANDB_API_KEY or the entity in WANDB_ENTITY.
    """
    mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
    with environment(root):
        _validate(mode)
        if mode not in ONLINE:
            return mode
        asked = _asked()
        if asked not in _found:
            try:
                _ask()
            except OutOfReach as why:
                give_up(str(why))
            else:
                _found[asked] = None
    return mode if _found[asked] is None else "offline"


@contextlib.contextmanager
def wanted(root: str | Path) -> Iterator[None]:
    """For what is nothing without W&B's server, in the block: the key is WANDB_API_KEY's or netrc's. Raises
    `UsageError` as `check` does, and where WANDB_MODE says to ask nobody, or nobody answers."""
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in ONLINE:
        raise UsageError(f"WANDB_MODE={mode}: this speaks to W&B's server; leave WANDB_MODE out")
    os.environ["WANDB_MODE"] = mode or "online"
    try:
        if check(root) not in ONLINE:
            raise UsageError("W&B does not answer; nothing was sent, and what is to be is kept in ROOT/wandb")
        with environment(root):
            yield
    finally:
        if mode is None:
            os.environ.pop("WANDB_MODE", None)


def give_up(why: str) -> None:
    """From now on runs of this process are tracked offline; says so, once."""
    if _found.get(_asked()) is None:
        _found[_asked()] = why
        log.warning(
            "W&B %s; from here on runs are kept in ROOT/wandb, and `memefly wandb-sync --root ROOT` sends them later "
            "(with WANDB_MODE=offline no server is asked)",
            why,
        )


def ask() -> None:
    """Raises `OutOfReach` where the server does not answer, does not know the key any more or is none of W&B's."""
    try:
        _ask()
    except UsageError as error:
        raise OutOfReach(str(error)) from error


def project() -> str:
    """Of W&B's, that runs are tracked in."""
    return os.environ.get("WANDB_PROJECT") or "memefly"


def within(seconds: float, work: Callable[[], _Answer], ask: Callable[[], None] | None = None) -> _Answer:
    """What `work` returns or raises; `TimeoutError` where that takes longer, and what `ask` raises, which is called
    every `PATIENCE` seconds meanwhile. Work that is not waited for any more is left to itself, in a thread that does
    not keep the process."""
    done: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            done.append((work(), None))
        except BaseException as error:
            done.append((None, error))

    thread = threading.Thread(target=run, name="wandb", daemon=True)
    thread.start()
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and thread.is_alive():
        thread.join(min(left, PATIENCE) if ask else left)
        if ask and thread.is_alive():
            ask()
    if not done:
        raise TimeoutError(f"did not answer within {seconds:.0f} s")
    answer, error = done[0]
    if error is not None:
        raise error
    return answer


@contextlib.contextmanager
def environment(root: str | Path) -> Iterator[None]:
    """W&B keeps what it keeps under ROOT/wandb, speaks to nobody else, and leaves the terminal alone."""
    folder = Path(root).resolve() / "wandb"
    wanted = {
        # Artifacts are staged under WANDB_DATA_DIR: left at its default, syncing from elsewhere would lose them.
        "WANDB_DATA_DIR": str(folder),
        # Its own process keeps this one by it for as long as it lives, and makes it anew when ROOT was moved.
        "WANDB_CACHE_DIR": str((temporary.settle() or folder) / "cache"),
        "WANDB_DIR": str(folder.parent),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


def _validate(mode: str) -> None:
    import wandb

    for variable, given in (("WANDB_MODE", {"mode": mode}), ("WANDB_PROJECT", {"project": project()})):
        try:
            wandb.Settings(**given)
        except pydantic.ValidationError as error:
            said = "; ".join(one["msg"] for one in error.errors())
            raise UsageError(f"{variable}={next(iter(given.values()))}: W&B does not take it: {said}") from None
        except wandb.errors.UsageError as error:
            raise UsageError(f"{variable}: {error}") from None


def _asked() -> tuple[str | None, ...]:
    return tuple(os.environ.get(f"WANDB_{part}") for part in ("BASE_URL", "API_KEY", "ENTITY"))


def _ask() -> None:
    """Raises `OutOfReach`, or `UsageError` as `check` does."""
    import wandb

    settings = wandb.setup().settings
    server, key, entity = str(settings.base_url).rstrip("/"), os.environ.get("WANDB_API_KEY"), settings.entity
    verify = not settings.insecure_disable_ssl
    advice = "or set WANDB_MODE=offline"
    if not settings.identity_token_file:
        if not knows(server, key, verify):
            what = "WANDB_API_KEY: W&B at {} does not know this key" if key else "W&B at {} wants a key"
            raise UsageError(f"{what.format(server)}; take the one of {server}/authorize, {advice}")
        if entity:
            said = _query(server, verify, key, _ENTITY, name=entity)
            if not (said.get("data") or {}).get("entity"):
                raise UsageError(
                    f"WANDB_ENTITY: W&B at {server} knows no entity {entity!r} to which this key belongs; name a user "
                    f"or a team of it, or leave WANDB_ENTITY out, {advice}"
                )


def knows(server: str, key: str | None, verify: bool = True) -> bool:
    """Whether W&B at an URL takes a key; None: netrc's. Raises `OutOfReach`."""
    return bool((_query(server, verify, key, _VIEWER).get("data") or {}).get("viewer"))


def _query(server: str, verify: bool, key: str | None, query: str, **variables: str) -> dict[str, Any]:
    """What the server answers; a key it does not take is answered with no data. Without a key, netrc's is sent."""
    import requests

    def post() -> requests.Response:
        return requests.post(
            f"{server}/graphql",
            json={"query": query, "variables": variables},
            auth=("api", key) if key else None,
            timeout=PATIENCE,
            verify=verify,
        )

    try:
        reply = within(PATIENCE, post)
    except (TimeoutError, requests.Timeout):
        raise OutOfReach(f"at {server} does not answer within {PATIENCE:.0f} s") from None
    except Exception as error:
        raise OutOfReach(f"at {server} is out of reach ({type(error).__name__})") from error
    if reply.status_code in (401, 403):
        return {}
    try:
        said = reply.json() if reply.ok else None
    except ValueError:
        said = None
    if not isinstance(said, dict) or not ("data" in said or "errors" in said):
        raise OutOfReach(f"at {server} answers with something else than W&B does (status {reply.status_code})")
    return said
