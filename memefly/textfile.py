"""Text files that people bring: lists, JSON, YAML.

    >>> for number, line in enumerate(lines(read("Flickr_8k.trainImages.txt")), start=1): …

UTF-8, with or without a byte order mark, and UTF-16 and 32 with one. Lines end where people end them, at line feeds and
carriage returns; `str.splitlines` would cut a caption in two that holds a vertical tab or U+2028.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from memefly import storage
from memefly.errors import DataError, UsageError
from memefly.storage import Place

_STEPS, _DEEPEST = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}, 100  # of JSON
_MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read(path: str | Place, wrong: type[UsageError] = DataError) -> str:
    """The text of a file. Raises `OSError` where it cannot be read, and `wrong` where its encoding is none of ours."""
    return decode(storage.at(path).read_bytes(), str(path), wrong)


def decode(content: bytes, name: str, wrong: type[UsageError] = DataError, errors: str = "strict") -> str:
    """As `read`, of bytes that are called `name`; with `errors` "replace", what is no UTF-8 becomes U+FFFD."""
    mark, encoding = _encoding(content[:4], name, wrong)
    try:
        return content[len(mark) :].decode(encoding, errors)
    except UnicodeDecodeError as error:
        at = error.start + len(mark)
        line = content[:at].count(b"\n") + 1
        raise wrong(
            f"{name} is not {encoding.upper()}: byte 0x{content[at]:02x} in line {line}. Where it is Latin-1 or "
            f"Windows-1252, convert it: iconv -f WINDOWS-1252 -t UTF-8"
        ) from None


@contextlib.contextmanager
def opened(
    path: str | Place, wrong: type[UsageError] = DataError, errors: str = "strict", newline: str | None = None
) -> Iterator[TextIO]:
    """As `read`, of files that memory need not hold; `newline` as in Python's `open`."""
    with storage.at(path).open("rb") as file:
        mark, encoding = _encoding(file.read(4), str(path), wrong)
        file.seek(len(mark))
        with io.TextIOWrapper(file, encoding, errors, newline) as text:
            try:
                yield text
            except UnicodeDecodeError:  # which knows its place in a block of the file, and not in which line that is
                decode(storage.at(path).read_bytes(), str(path), wrong)
                raise


def stream(path: str | Place, wrong: type[UsageError] = DataError, errors: str = "strict") -> Iterator[str]:
    """The `lines` of a file, one at a time."""
    with opened(path, wrong, errors) as text:
        for line in text:
            yield line.removesuffix("\n")


def _encoding(start: bytes, name: str, wrong: type[UsageError]) -> tuple[bytes, str]:
    """A file's byte order mark and encoding, by its first four bytes."""
    mark, encoding = next(((m, e) for m, e in _MARKS if start.startswith(m)), (b"", "utf-8"))
    if not mark and b"\0" in start:
        raise wrong(f"{name} is not UTF-8: it looks like UTF-16 or UTF-32 without a byte order mark; save it as UTF-8")
    return mark, encoding


def lines(text: str) -> list[str]:
    """Without their ends; none after the last end."""
    found = re.split(r"\r\n|\n|\r", text)
    return found[:-1] if not found[-1] else found


def read_list(path: Path, what: str) -> list:
    """What a JSON file lists, which is `what`. Raises `DataError` where it cannot be read, or is no list in JSON."""
    try:
        found = from_json(read(path))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} is not there; expected {what} in it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error})") from None
    if not isinstance(found, list):
        raise DataError(f"{path}: expected a list of {what}, got {type(found).__name__}")
    return found


def stream_json(path: Path, prefix: str, what: str) -> Iterator[Any]:
    """The values at `prefix` of a JSON file (as ijson names them: `images.item` are those of a list `images`), one at a
    time. Raises `DataError` where it cannot be read, is no JSON, or has none of `what` there."""
    import ijson

    found = False
    try:
        with opened(path, newline="") as text:
            for value in ijson.items(_Utf8(text, str(path)), prefix, use_float=True):
                found = True
                yield value
    except ijson.JSONError as error:
        said = str(error).strip().splitlines()
        where = "is cut off or not JSON" if isinstance(error, ijson.IncompleteJSONError) else "is not JSON"
        raise DataError(f"{path} {where} ({said[0] if said else type(error).__name__})") from None
    except OSError as error:
        if error.filename is None or Path(error.filename) != path:
            raise  # of whoever takes the values
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if not found:
        raise DataError(f"{path}: expected {what}, and there is none")


class _Utf8:
    """A text file as bytes of UTF-8, whatever its own encoding is. Raises `DataError` where what is in it is nested too
    deeply: ijson holds the path of every level, which of thousands is more than memory has."""

    def __init__(self, text: TextIO, name: str):
        import ijson

        self._text, self._name, self._depth = text, name, 0
        self._events: Any = ijson.sendable_list()
        self._parser = ijson.basic_parse_coro(self._events)

    def read(self, size: int = -1) -> bytes:
        block = self._text.read(size).encode("utf-8", "surrogatepass")
        if block:
            self._parser.send(block)
        for event, _ in self._events:
            self._depth += _STEPS.get(event, 0)
            if self._depth > _DEEPEST:
                raise DataError(f"{self._name} is not JSON that anybody wrote (nested more than {_DEEPEST} deep)")
        del self._events[:]
        return block


def to_json(value: Any, **how) -> str:
    """JSON that any UTF-8 file takes: characters as they are, and halves of surrogate pairs escaped."""
    return json.dumps(value, ensure_ascii=False, **how).encode("utf-8", "backslashreplace").decode("utf-8")


def from_json(text: str) -> Any:
    """What JSON says. Raises `ValueError`, whatever is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # of Python's own limit
        raise ValueError("a number of thousands of digits") from None
