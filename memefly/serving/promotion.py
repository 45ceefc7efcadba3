"""Which pushed version TensorFlow Serving answers with: labels, moved by hand, with a history.

    >>> promote("root", 1700000000, "canary", why="two days of shadow traffic look good")
    >>> rollback("root", "stable", why="complaints about dogs")

    ROOT/serving/models.config       what TensorFlow Serving polls (model_server_config.proto): versions, and labels
    ROOT/serving/promotions.jsonl    every move: when, who, why, from which version to which

`models.config` is replaced by one rename, so a server that polls it reads the old one or the new one; mount the folder
into a container, not the file, or it keeps the old one for ever. Only versions that the pipeline blessed and pushed can
be labelled.

TensorFlow Serving refuses a configuration that moves a label in use to a version that it has not loaded: requests to
that label would fail meanwhile. So such a move takes two: first the version is named beside the others, then, when it
is loaded (`wait`), the label moves. The version that a label came from stays loaded: to roll back takes no loading.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import getpass
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from memefly.errors import PromotionError
from memefly.exported.manifest import MANIFEST, damage, read_manifest, versions

log = logging.getLogger("memefly.promotion")

LABELS = ("stable", "canary")
NAME = "captioner"
BASE_PATH = f"/models/{NAME}"  # where the folder of versions is in TensorFlow Serving's container
CONFIG, HISTORY = "models.config", "promotions.jsonl"
SETTLE = 30.0  # seconds for a server to see the file (deploy/ polls every 10) and to load a version


@dataclass(frozen=True)
class Move:
    """One line of the history; `before` and `version` are None where the label was, or is, on no version."""

    when: str  # ISO 8601, UTC
    who: str
    why: str
    action: str  # promote | rollback
    label: str
    before: int | None
    version: int | None


def labels(root: str | Path) -> dict[str, int]:
    """Label to version, as `models.config` has it. Raises `PromotionError` where that cannot be read."""
    return dict(_read(Path(root) / "serving").version_labels)


def history(root: str | Path) -> list[Move]:
    """All moves, oldest first."""
    path = Path(root) / "serving" / HISTORY
    if not path.exists():
        return []
    try:
        return [Move(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (json.JSONDecodeError, TypeError) as error:
        raise PromotionError(f"{path} has a line that is no move ({error}); mend or remove that line") from None


def promote(
    root: str | Path,
    version: int | str,
    label: str,
    why: str = "",
    who: str | None = None,
    base_path: str | None = None,
    wait: Callable[[int], None] = lambda version: time.sleep(SETTLE),
) -> Move:
    """Puts `label` on a version (a number, or `latest`). Raises `PromotionError` where there is no such version or it
    was not blessed; no label is moved then. `base_path`: where the server finds the folder of versions, if not where
    `models.config` says already (at first: in TensorFlow Serving's container). `wait` is called with a version that a
    server has yet to load before the label can move, and returns when it has."""
    _known(label)
    serving = Path(root) / "serving"
    with _locked(serving):
        version = _blessed(serving, version)
        before = _read(serving).version_labels.get(label)
        if before == version:
            raise PromotionError(f"{label} is on version {version} already")
        return _move(serving, Move(_now(), who or _user(), why, "promote", label, before, version), wait, base_path)


def rollback(
    root: str | Path,
    label: str = "stable",
    why: str = "",
    who: str | None = None,
    wait: Callable[[int], None] = lambda version: time.sleep(SETTLE),
) -> Move:
    """Puts `label` back where it was before its last promotion that was not rolled back. Raises `PromotionError` where
    there is no such version, or not any more."""
    _known(label)
    serving = Path(root) / "serving"
    with _locked(serving):
        now = _read(serving).version_labels.get(label)
        before = _before(root, label, now)
        if before is None:
            stands = f"has only been on version {now}" if now else "was never on a version"
            raise PromotionError(f"{label} {stands}; there is nothing to roll back to")
        version = _blessed(serving, before)
        return _move(serving, Move(_now(), who or _user(), why, "rollback", label, now, version), wait)


def until_available(address: str, timeout: float = 120.0) -> Callable[[int], None]:
    """A `wait` that asks TensorFlow Serving, at HOST:PORT of its gRPC, until the version is loaded. Raises
    `PromotionError` when it is not within `timeout` seconds."""

    def wait(version: int) -> None:
        import grpc
        from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name, request.model_spec.version.value = NAME, version
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        ends, told = time.monotonic() + timeout, "not asked"
        with grpc.insecure_channel(address) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            while time.monotonic() < ends:
                try:
                    states = stub.GetModelStatus(request, timeout=5).model_version_status
                    if any(s.version == version and s.state == available for s in states):
                        return
                    told = ", ".join(str(s.status.error_message or s.state) for s in states) or "not there yet"
                except grpc.RpcError as error:
                    told = error.details() or error.code().name
                time.sleep(0.5)
        raise PromotionError(
            f"the server at {address} did not load version {version} within {timeout:.0f} s ({told}); the label stays "
            "where it is, and the version is named in models.config for when it does"
        )

    return wait


def _before(root: str | Path, label: str, now: int | None) -> int | None:
    """The version that `label` was on before it came to `now`, as the history tells it. A move that was written there
    and then cut off, so that the label never got there, does not count."""
    moves = [move for move in history(root) if move.label == label]
    came_to = [*(move.before for move in moves[1:]), now]  # where the label was when the next move began
    stack: list[int | None] = [None]
    for move, reached in zip(moves, came_to):
        if move.version != reached:
            continue
        if move.action == "promote":
            stack.append(move.version)
        else:
            while len(stack) > 1 and stack[-1] != move.version:
                stack.pop()
    return stack[-2] if len(stack) > 1 else None


def _known(label: str) -> None:
    if label not in LABELS:
        raise PromotionError(f"no label {label!r}; expected {' or '.join(LABELS)}")


def _blessed(serving: Path, version: int | str) -> int:
    """The number of a version that may be served."""
    folder = serving / NAME
    there = {int(path.name): path for path in versions(folder)}
    if not there:
        raise PromotionError(f"no version in {folder}; push one first: memefly run --data DIR --root {serving.parent}")
    if version == "latest":
        version = next((number for number, path in there.items() if not _passed_over(path)), max(there))
    if not str(version).isdecimal() or int(version) not in there:
        raise PromotionError(f"no version {version} in {folder}; there are {', '.join(map(str, sorted(there)))}")
    path = there[int(version)]
    if wrong := damage(path, contents=True):
        raise PromotionError(f"version {version} is no model of memefly that is whole: {path}: {wrong}")
    if not read_manifest(path).get("blessed"):
        raise PromotionError(
            f"version {version} was not pushed by the pipeline, so no gate has blessed it ({path / MANIFEST} does not "
            'say "blessed"); run the pipeline, which pushes what passes'
        )
    if not (path / "saved_model.pb").is_file():
        raise PromotionError(f"version {version} is no SavedModel; TensorFlow Serving cannot serve it")
    return int(version)


def _passed_over(path: Path) -> bool:
    """Whether a version is no whole model; told where it is not."""
    wrong = damage(path)
    if wrong:
        log.warning("passes over version %s, which is no model of memefly: %s", path.name, wrong)
    return bool(wrong)


def _move(serving: Path, move: Move, wait: Callable[[int], None], base_path: str | None = None) -> Move:
    assert move.version is not None  # of a move that is yet to be made
    config = _read(serving)
    config.base_path = base_path or config.base_path
    versions = config.model_version_policy.specific.versions
    if move.version not in versions and move.label in config.version_labels:
        versions.append(move.version)
        versions.sort()
        _write(serving, config)
        wait(move.version)
    # History first: a move that is cut off between the two is told, does not count, and is done by repeating it.
    with (serving / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(move)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    config.version_labels[move.label] = move.version
    kept = {*config.version_labels.values(), *(_before(serving.parent, k, v) for k, v in config.version_labels.items())}
    del versions[:]
    versions.extend(sorted(v for v in kept - {None} if (serving / NAME / str(v)).is_dir()))
    _write(serving, config)
    return move


def _user() -> str:
    try:
        return getpass.getuser()
    except KeyError:  # a container's user without a name
        return f"uid {os.getuid()}"


def _read(serving: Path):
    """The `ModelConfig` of the captioner; a fresh one where there is no `models.config` yet."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    path = serving / CONFIG
    if not path.exists():
        return model_server_config_pb2.ModelConfig(name=NAME, base_path=BASE_PATH, model_platform="tensorflow")
    try:
        found = text_format.Parse(path.read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise PromotionError(
            f"{path} is not a model_server_config.proto in text form ({error}); mend or remove it"
        ) from None
    configs = [c for c in found.model_config_list.config if c.name == NAME]
    if len(configs) != 1 or len(found.model_config_list.config) != 1:
        raise PromotionError(f"{path} should hold one model, {NAME!r}; it holds {[c.name for c in configs]}")
    return configs[0]


def _write(serving: Path, config) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    whole = model_server_config_pb2.ModelServerConfig()
    whole.model_config_list.config.append(config)
    partial = serving / f".{CONFIG}.{os.getpid()}"
    partial.write_text(
        f"# Written by memefly promote; {HISTORY} says by whom and why.\n{text_format.MessageToString(whole)}",
        encoding="utf-8",
    )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, serving / CONFIG)


@contextlib.contextmanager
def _locked(serving: Path) -> Iterator[None]:
    """Two moves at once would each forget the other's."""
    if not serving.is_dir():
        raise PromotionError(f"no folder {serving}: nothing was pushed there yet. Is --root the pipeline's?")
    with (serving / ".promotions.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
