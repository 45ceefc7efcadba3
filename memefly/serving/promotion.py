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

A move is one for all who have to know of it, or none: ML Metadata, what W&B is told, `models.config`, the history. What
it will do stands in ROOT/serving/.promotion.json before it begins. Whoever moves a label next finds there what a kill
cut off, and finishes it where all was decided, or takes it back where it was not.
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
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from memefly import layout
from memefly.errors import MemeflyError, PromotionError, first_line
from memefly.exported.manifest import MANIFEST, damage, read_manifest, versions
from memefly.serving.journal import Journal
from memefly.serving.moves import Move, parties
from memefly.storage import Remote, replace

log = logging.getLogger("memefly.promotion")

LABELS = ("stable", "canary")
NAME = "captioner"
BASE_PATH = f"/models/{NAME}"  # where the folder of versions is in TensorFlow Serving's container
CONFIG, HISTORY = "models.config", "promotions.jsonl"
SETTLE = 30.0  # seconds for a server to see the file (deploy/ polls every 10) and to load a version


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


def came_from(root: str | Path, label: str) -> int | None:
    """The version that a rollback would put the label on; None where there is none."""
    return _before(history(root), label, labels(root).get(label))


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
        settled = _settle(serving)
        version = _blessed(serving, version)
        before = _read(serving).version_labels.get(label)
        if before == version:
            if settled and (settled.action, settled.label, settled.version) == ("promote", label, version):
                return settled
            raise PromotionError(f"{label} is on version {version} already")
        move = Move(_now(), who or user(), why, "promote", label, before, version, uuid.uuid4().hex[:16])
        return _move(serving, move, wait, base_path)


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
        settled = _settle(serving)
        if settled and (settled.action, settled.label) == ("rollback", label):
            return settled
        now = _read(serving).version_labels.get(label)
        before = _before(history(root), label, now)
        if before is None:
            stands = f"has only been on version {now}" if now else "was never on a version"
            raise PromotionError(f"{label} {stands}; there is nothing to roll back to")
        version = _blessed(serving, before)
        move = Move(_now(), who or user(), why, "rollback", label, now, version, uuid.uuid4().hex[:16])
        return _move(serving, move, wait)


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


def _before(moves: list[Move], label: str, now: int | None) -> int | None:
    """The version that `label` was on before it came to `now`, as the history tells it. A move that was written there
    and then cut off (by an older memefly), so that the label never got there, does not count."""
    moves = [move for move in moves if move.label == label]
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
    folder = layout.of(serving.parent).versions
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
    moves = [*history(serving.parent), move]  # read first: one that cannot be read ends it here
    config, journal, folder = _read(serving), Journal(serving), layout.of(serving.parent).versions
    config.base_path = base_path or config.base_path
    versions = config.model_version_policy.specific.versions
    journal.begin(move, _text(serving))
    if move.version not in versions and move.label in config.version_labels:
        versions.append(move.version)
        versions.sort()
        try:
            _write(serving, config)
            wait(move.version)
        except BaseException:
            journal.close()  # the label stays; that the version is named is no move
            raise
    config.version_labels[move.label] = move.version
    kept = {*config.version_labels.values(), *(_before(moves, k, v) for k, v in config.version_labels.items())}
    del versions[:]
    versions.extend(sorted(v for v in kept - {None} if (folder / str(v)).is_dir()))
    journal.decide(_whole(config))
    try:
        _finish(serving, move, config)
    except BaseException:
        _take_back(serving, journal)
        raise
    journal.close()
    return move


def _finish(serving: Path, move: Move, config) -> None:
    """What is decided is done, by as many calls as it takes; what is done already is not done twice."""
    for party in parties(serving.parent):
        party.tell(move)
    _write(serving, config)
    moves = history(serving.parent)
    if move.id not in {one.id for one in moves}:
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in (*moves, move))
        replace(serving / HISTORY, lines)  # whole: a line that a full disk cut off would be none


def _take_back(serving: Path, journal: Journal) -> None:
    """Of a move that did not come to its end. Where not even that can be done, the next call does it."""
    try:
        journal.undo()
        for party in parties(serving.parent):
            party.take_back(journal.move)
        moves = history(serving.parent)
        if journal.move.id in {one.id for one in moves}:
            kept = [one for one in moves if one.id != journal.move.id]
            replace(serving / HISTORY, "".join(json.dumps(asdict(one)) + "\n" for one in kept))
        if _text(serving) == journal.after:
            _restore(serving, journal.before)
    except (OSError, MemeflyError) as error:
        log.warning(
            "the move of %s to version %s is not taken back yet (%s); the next promote or rollback does it",
            journal.move.label, journal.move.version, first_line(error),
        )  # fmt: skip
        return
    journal.close()


def _settle(serving: Path) -> Move | None:
    """What a kill, or a full disk, cut off, is brought to its end: the move that is finished, None where none is."""
    journal = Journal(serving)
    if not journal.open():
        return None
    move = journal.move
    if journal.stage == "decided":
        _finish(serving, move, _parse(journal.after or "", serving / CONFIG))
        journal.close()
        log.warning("a move that was cut off is finished: %s to version %s", move.label, move.version)
        return move
    _take_back(serving, journal)
    log.warning("a move that was cut off is taken back: %s to version %s", move.label, move.version)
    return None


def user() -> str:
    """Who is at work here."""
    try:
        return getpass.getuser()
    except KeyError:  # a container's user without a name
        return f"uid {os.getuid()}"


def _text(serving: Path) -> str | None:
    path = serving / CONFIG
    return path.read_text(encoding="utf-8") if path.exists() else None


def _read(serving: Path):
    """The `ModelConfig` of the captioner; a fresh one where there is no `models.config` yet."""
    from tensorflow_serving.config import model_server_config_pb2

    content = _text(serving)
    if content is None:
        folder = layout.of(serving.parent).versions
        base_path = str(folder) if isinstance(folder, Remote) else BASE_PATH
        return model_server_config_pb2.ModelConfig(name=NAME, base_path=base_path, model_platform="tensorflow")
    return _parse(content, serving / CONFIG)


def _parse(content: str, path: Path):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    try:
        found = text_format.Parse(content, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise PromotionError(
            f"{path} is not a model_server_config.proto in text form ({error}); mend or remove it"
        ) from None
    configs = [c for c in found.model_config_list.config if c.name == NAME]
    if len(configs) != 1 or len(found.model_config_list.config) != 1:
        raise PromotionError(f"{path} should hold one model, {NAME!r}; it holds {[c.name for c in configs]}")
    return configs[0]


def _whole(config) -> str:
    """What `models.config` holds, of the one model in it."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    whole = model_server_config_pb2.ModelServerConfig()
    whole.model_config_list.config.append(config)
    return f"# Written by memefly promote; {HISTORY} says by whom and why.\n{text_format.MessageToString(whole)}"


def _write(serving: Path, config) -> None:
    replace(serving / CONFIG, _whole(config))


def _restore(serving: Path, content: str | None) -> None:
    if content is None:
        (serving / CONFIG).unlink(missing_ok=True)
    else:
        _write(serving, _parse(content, serving / CONFIG))


@contextlib.contextmanager
def _locked(serving: Path) -> Iterator[None]:
    """Two moves at once would each forget the other's."""
    if serving not in layout.of(serving.parent).versions.parents and serving.parent.is_dir():
        serving.mkdir(exist_ok=True)  # versions lie elsewhere, and labels here
    if not serving.is_dir():
        raise PromotionError(f"no folder {serving}: nothing was pushed there yet. Is --root the pipeline's?")
    with (serving / ".promotions.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
