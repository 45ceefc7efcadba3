# mypy: disable-error-code="override, assignment"
# A `Remote` has fewer methods than a path, with fewer arguments, and to a checker of types it is one all the same.
"""A place in a store that TensorFlow speaks and that is no folder of this machine, with pathlib's methods.

    >>> version = Remote("gs://memes/captioner/1700000000")
    >>> (version / "memefly.json").read_text()

What a store does not answer at first is asked again, with growing pauses; what it does not answer then is a
`StorageError`, and never taken for absent.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import importlib
import io
import logging
import os
import posixpath
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from memefly.errors import StorageError

log = logging.getLogger("memefly.storage")

if TYPE_CHECKING:
    _Path = Path
else:
    _Path = object
Result = TypeVar("Result")
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_LIBRARIES = {"s3": "tensorflow_io", "az": "tensorflow_io", "hdfs": "tensorflow_io"}  # what has TensorFlow speak them
_FLAT = ("gs://", "s3://", "az://")  # where a folder is no more than how names begin
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds, before each further attempt
_TRANSIENT = (
    "UnavailableError", "DeadlineExceededError", "AbortedError", "InternalError", "ResourceExhaustedError",
    "UnknownError",
)  # fmt: skip


@dataclass(frozen=True)
class Stat:
    st_size: int
    st_mtime_ns: int
    st_mode: int  # whether it is a file or a folder, and nothing else

    @property
    def st_mtime(self) -> float:
        return self.st_mtime_ns / 1e9


@functools.total_ordering
class Remote(_Path):
    """What of pathlib.Path's methods a store has an answer to. Raises `StorageError` where TensorFlow does not speak
    the scheme.

    It is no os.PathLike: what opens files by itself would look for it on this machine.
    """

    def __init__(self, uri: str):
        found = SCHEME.match(uri)
        if not found:
            raise ValueError(f"expected scheme://…, got {uri!r}")
        self._scheme, rest = found.group(), uri[found.end() :]
        self._path = posixpath.normpath(rest) if rest.strip("/") else ""
        _speak(found.group(1), uri)

    def _beside(self, path: str) -> Remote:
        made = object.__new__(Remote)
        made._scheme, made._path = self._scheme, posixpath.normpath(path) if path else ""
        return made

    def __reduce__(self):  # by its name: a worker that gets it has to speak its scheme, too
        return Remote, (str(self),)

    def __str__(self) -> str:
        return self._scheme + self._path

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and str(self) == str(other)

    def __lt__(self, other: Any) -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, inside: Any) -> Remote:
        return self._beside(posixpath.join(self._path, Path(inside).as_posix()))

    # --- its name ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return posixpath.basename(self._path)

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> Remote:
        return self._beside(posixpath.dirname(self._path))

    @property
    def parents(self) -> list[Remote]:
        above = [self.parent]
        while above[-1]._path not in ("", "/"):
            above.append(above[-1].parent)
        return above

    @property
    def parts(self) -> tuple[str, ...]:
        return (self._scheme, *self._path.split("/"))

    def with_name(self, name: str) -> Remote:
        return self.parent / name

    def relative_to(self, other: Any) -> Path:
        """Raises `ValueError` where it is not inside it."""
        if not isinstance(other, Remote) or self._scheme != other._scheme:
            raise ValueError(f"{self} is not in {other}")
        return Path(self._path).relative_to(other._path)

    def resolve(self) -> Remote:
        return self

    # --- what is there ----------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        return self._ask("looked for", lambda gfile: gfile.exists(str(self)))

    def is_dir(self) -> bool:
        # gfile.isdir takes what does not answer for no folder.
        found = self._ask("looked for", lambda gfile: gfile.stat(str(self)), FileNotFoundError, None)
        return found is not None and found.is_directory

    def is_file(self) -> bool:
        found = self._ask("looked for", lambda gfile: gfile.stat(str(self)), FileNotFoundError, None)
        return found is not None and not found.is_directory

    def is_symlink(self) -> bool:
        return False

    def stat(self) -> Stat:
        """Raises `FileNotFoundError`."""
        found = self._ask("looked at", lambda gfile: gfile.stat(str(self)))
        kind = stat.S_IFDIR if found.is_directory else stat.S_IFREG
        return Stat(int(found.length), int(found.mtime_nsec), kind)

    lstat = stat

    def iterdir(self) -> Iterator[Remote]:
        """In the order of their names. Raises `FileNotFoundError`."""
        return (self / name for name in sorted(self._children()))

    def rglob(self, pattern: str) -> Iterator[Remote]:
        """Files and folders below; a place that is not there has none."""
        return (self / name for name, _ in self.walk() if fnmatch.fnmatch(posixpath.basename(name), pattern))

    def walk(self) -> list[tuple[str, bool]]:
        """Of all that is below, its name from here and whether it is a folder; sorted."""
        try:
            children = self._children()
        except FileNotFoundError:
            return []
        found = []
        for name, is_folder in sorted(children.items()):
            found.append((name, is_folder))
            if is_folder:
                found += [(posixpath.join(name, inside), kind) for inside, kind in (self / name).walk()]
        return found

    def _children(self) -> dict[str, bool]:
        """By name, whether it is a folder. Raises `FileNotFoundError`."""
        from tensorflow.python.lib.io import _pywrap_file_io  # gfile.listdir takes what does not answer for no folder

        if not self.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        listed = self._ask("listed", lambda gfile: _pywrap_file_io.GetChildren(str(self).encode()))
        names = {os.fsdecode(one) for one in listed} - {"", "/"}
        if self._scheme in _FLAT:  # whose lists say what begins like a folder
            return {name.rstrip("/"): name.endswith("/") for name in sorted(names)}
        return {name.rstrip("/"): (self / name).is_dir() for name in names}

    def glob(self, pattern: str) -> Iterator[Remote]:
        """As pathlib has it, but that `**` is for whole names and `[!…]` for any."""
        if "**" in pattern:
            wanted = re.compile(fnmatch.translate(pattern.replace("**/", "*")))
            return (one for one in self.rglob("*") if wanted.match(one.relative_to(self).as_posix()))
        found = self._ask("listed", lambda gfile: gfile.glob(f"{self}/{pattern}"), FileNotFoundError, [])
        return (self._beside(one.removeprefix(self._scheme).rstrip("/")) for one in sorted(set(found)))

    # --- what is in it ----------------------------------------------------------------------------------------------

    def read_bytes(self) -> bytes:
        """Raises `FileNotFoundError`."""

        def read(gfile) -> bytes:
            with gfile.GFile(str(self), "rb") as file:
                return file.read()

        return self._ask("read", read)

    def read_part(self, offset: int, length: int) -> bytes:
        """Raises `FileNotFoundError`."""

        def read(gfile) -> bytes:
            with gfile.GFile(str(self), "rb") as file:
                file.seek(offset)
                return file.read(length)

        return self._ask("read", read)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def open(
        self, mode: str = "r", *, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
    ) -> IO[Any]:
        """For reading: "r" or "rb"; what is written is written as a whole."""
        if mode not in ("r", "rb"):
            raise ValueError(f"{self}: expected mode r or rb, got {mode!r}; `write_bytes` and `write_text` write")
        binary = io.BufferedReader(_Stream(self), 1 << 20)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)

    def write_bytes(self, content: bytes) -> None:
        def write(gfile) -> None:
            with gfile.GFile(str(self), "wb") as file:
                file.write(content)

        try:
            self._ask("written", write)
        except FileNotFoundError:  # of a store that knows folders
            self.parent.mkdir()
            self._ask("written", write)

    def write_text(self, content: str, encoding: str = "utf-8") -> None:
        self.write_bytes(content.encode(encoding))

    # --- what is done to it -----------------------------------------------------------------------------------------

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Its parents too, whatever is asked for. In a store that knows objects alone there is nothing to be made."""
        if self._scheme not in _FLAT:
            self._ask("made", lambda gfile: gfile.makedirs(str(self)))

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._ask("removed", lambda gfile: gfile.remove(str(self)))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _ask(self, does: str, call: Callable[[Any], Result], *absent: Any) -> Result:
        """With `absent`, an exception and what is answered in its place."""
        try:
            return ask(str(self), does, call)
        except absent[:1]:
            return absent[1]


class _Stream(io.RawIOBase):
    """A file of a store, read piece by piece. What is asked again after a fault begins where the last piece ended."""

    def __init__(self, place: Remote):
        self._place, self._at, self._size = place, 0, place.stat().st_size
        self._file: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer) -> int:
        def read(gfile) -> bytes:
            if self._file is None:
                self._file = gfile.GFile(str(self._place), "rb")
            try:
                self._file.seek(self._at)
                return self._file.read(len(buffer))
            except Exception:
                self._file = None
                raise

        piece = ask(str(self._place), "read", read) if self._at < self._size else b""
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def ask(place: str, does: str, call: Callable[[Any], Result]) -> Result:
    """What `call` of tf.io.gfile answers, asked again where a fault may pass. Raises `FileNotFoundError` and
    `FileExistsError` as Python has them, and `StorageError` with what is in the way and what to do."""
    import tensorflow as tf

    for pause in (*PAUSES, None):
        try:
            return call(tf.io.gfile)
        except tf.errors.NotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place) from None
        except tf.errors.AlreadyExistsError:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place) from None
        except tf.errors.OpError as error:
            said = " ".join(str(error.message or error).split())[:300]
            if type(error).__name__ not in _TRANSIENT:
                raise StorageError(
                    f"{place} cannot be {does}: {said}. See to the rights of this account there, and that the bucket "
                    "is the one that was meant"
                ) from None
            if pause is None:
                raise StorageError(
                    f"{place} could not be {does}, in {len(PAUSES) + 1} attempts: {said}. Nothing is lost: run again "
                    "when the store answers"
                ) from None
            log.warning("%s is not %s yet (%s); asks again in %g s", place, does, said[:100], pause)
            time.sleep(pause)
    raise AssertionError("unreachable")


@functools.cache
def _speak(scheme: str, uri: str) -> None:
    """Has TensorFlow speak a scheme, by the library that teaches it, if it needs one."""
    import tensorflow as tf

    library = _LIBRARIES.get(scheme)
    if library:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(library)
    if scheme not in tf.io.gfile.get_registered_schemes():
        wanted = f"`pip install {library.replace('_', '-')}` of this TensorFlow's version" if library else "no library"
        raise StorageError(
            f"{uri}: TensorFlow {tf.__version__} does not speak {scheme}:// here; {wanted} teaches it. It speaks "
            f"{', '.join(sorted(one for one in tf.io.gfile.get_registered_schemes() if one))}"
        )
