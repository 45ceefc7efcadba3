"""What is read and written, wherever it lies: in a folder of this machine, or in a store that TensorFlow speaks.

    >>> at("root/serving/captioner") / "1700000000"        # a pathlib.Path
    >>> at("gs://memes/captioner") / "1700000000"          # a `Remote`, with the same methods
    >>> replace("root/serving/models.config", "model_config_list { … }")

Nothing is there in part. A local file is written beside its place and put there by one rename; an object appears when
all of it has arrived, and of a folder's files those come last that tell of the others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memefly.errors import StorageError
from memefly.remote import SCHEME, Remote, ask

if TYPE_CHECKING:
    Place = Path
else:
    Place = Path | Remote
SETTLED = 60.0  # seconds within which a store lists what it was given; NFS remembers a folder that long, too
_LOOKS = 0.5  # seconds between them


def is_remote(place: str | Place) -> bool:
    return isinstance(place, Remote) or (isinstance(place, str) and SCHEME.match(place) is not None)


def at(place: str | Place) -> Place:
    """A path, or what can be used as one. Raises `StorageError` where TensorFlow does not speak its scheme."""
    if not isinstance(place, str):
        return place
    return Remote(place) if is_remote(place) else Path(place)


def sizes(folder: str | Place) -> dict[str, int]:
    """The files below a folder, by their names in it, with how many bytes they have; of a file, its own as `.`."""
    folder = at(folder)
    if not isinstance(folder, Remote):
        paths = [folder] if folder.is_file() else folder.rglob("*")
        return {os.path.relpath(path, folder): path.stat().st_size for path in paths if path.is_file()}
    if folder.is_file():
        return {".": folder.stat().st_size}
    return {name: (folder / name).stat().st_size for name, is_folder in folder.walk() if not is_folder}


def part(path: str | Place, offset: int, length: int) -> bytes:
    """So many bytes of a file, from one on; fewer at its end. By any number of threads. Raises `FileNotFoundError`."""
    path = at(path)
    if isinstance(path, Remote):
        return path.read_part(offset, length)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: str | Place) -> Iterator[Path]:
    """As `replace`, of a file that is written piece by piece: a file of this machine, which is at `path` when the block
    has ended well."""
    path = at(path)
    if isinstance(path, Remote):
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / path.name
            yield partial
            copy(partial, path)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace(path: str | Place, content: str | bytes) -> None:
    """Who reads the file, or comes after a kill, finds it as it was or as it is to be: a local one is written through
    to the disk and put in its place by one rename, an object of a store appears as a whole. Text is UTF-8."""
    path, content = at(path), content.encode() if isinstance(content, str) else content
    if isinstance(path, Remote):
        path.write_bytes(content)
        return
    with replacing(path) as partial:
        partial.write_bytes(content)


def copy(source: str | Place, target: str | Place) -> None:
    """A file, into a folder that is there."""
    source, target = at(source), at(target)
    if isinstance(source, Remote) or isinstance(target, Remote):
        ask(f"{source} to {target}", "copied", lambda gfile: gfile.copy(str(source), str(target), overwrite=True))
    else:
        shutil.copyfile(source, target)


def copy_tree(source: str | Place, target: str | Place, last: tuple[str, ...] = ()) -> None:
    """The files below a folder; those with a name in `last`, in that order, when all others are there."""
    source, target = at(source), at(target)
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    for inside in sorted(files, key=lambda one: last.index(one.name) if one.name in last else -1):
        (target / inside).parent.mkdir(parents=True, exist_ok=True)
        copy(source / inside, target / inside)


def remove_tree(path: str | Place) -> None:
    """A folder with all that is in it, or a file, if it is there."""
    path = at(path)
    if isinstance(path, Remote):
        if path.is_dir():
            with contextlib.suppress(FileNotFoundError):
                ask(str(path), "removed", lambda gfile: gfile.rmtree(str(path)))
        else:
            path.unlink(missing_ok=True)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def probe(folder: Remote) -> None:
    """Writes a file, reads it and takes it away. Raises `StorageError` where one of these cannot be done."""
    path, content = folder / f".memefly-{uuid.uuid4().hex}", b"memefly looks whether it may write here"
    path.write_bytes(content)
    try:
        read = path.read_bytes()
    except FileNotFoundError:
        read = b""
    path.unlink(missing_ok=True)
    if read != content:
        raise StorageError(f"{folder}: what is written there is not what is read there; expected a store of one's own")


@contextlib.contextmanager
def local(path: str | Place) -> Iterator[Path]:
    """A folder or file that is on this machine while the block runs, for what can read no other: itself, or a copy."""
    path = at(path)
    if not isinstance(path, Remote):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / path.name
        if path.is_dir():
            copy_tree(path, copied)
        elif path.exists():
            copy(path, copied)
        yield copied


@contextlib.contextmanager
def written(path: str | Place, last: tuple[str, ...] = ()) -> Iterator[Path]:
    """A folder of this machine to write to, whose files are at `path` when the block has ended well; `last` as in
    `copy_tree`."""
    path = at(path)
    if not isinstance(path, Remote):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        yield made
        copy_tree(made, path, last)


def settle(is_whole: Callable[[], bool], within: float | None = None) -> bool:
    """Whether it is, looked at until it is or `within` seconds (`SETTLED`) are over: lists may lag behind what was
    written."""
    ends = time.monotonic() + (SETTLED if within is None else within)
    while not (whole := is_whole()) and time.monotonic() < ends:
        time.sleep(_LOOKS)
    return whole
