"""Writes a canonical data set; the folder appears whole or not at all.

    >>> with DatasetWriter("data/cats") as writer:
    ...     writer.add("a.jpg", data, ["a cat"], group="cats")

What cannot be taken is left out, counted and told of in `quarantine.jsonl`, one line each; `import.json` says where the
data came from. The same import may be made again in its place: what a person has changed since is not written over.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from memefly import textfile
from memefly.datasets.records import CAPTIONS_FILE, QUARANTINE, quarantined
from memefly.errors import DataError

ORIGIN = "import.json"
_SHOWN = 3  # of what was left out, in messages
_AGAIN = "choose another folder, or remove this one"


class DatasetWriter:
    """Holds a name and a digest of each picture in memory, and nothing else of it."""

    def __init__(
        self,
        out: str | Path,
        max_left_out: float = 1.0,
        link: bool = False,
        origin: Mapping[str, Any] | None = None,
        progress: bool = False,
    ):
        """More than the share `max_left_out` of records that are left out is an error, and so is nothing but that.
        With `link`, pictures that are files are linked and not copied. `origin` says in JSON what is imported: a data
        set of the same origin is replaced. With `progress`, pictures are counted on a terminal."""
        self.out, self.max_left_out = Path(out), max_left_out
        self.pictures = self.captions = 0
        self.counts: Counter[tuple[str, str]] = Counter()  # (record or caption, reason) of what was left out
        self.first: list[str] = []  # details of the first few
        self._link, self._origin, self._progress = link, dict(origin or {}), progress
        self._replaces = self._look()
        self._partial = self.out.with_name(f".{self.out.name}.partial-{os.getpid()}")
        self._names: dict[str, bytes] = {}  # of a picture, with its digest
        self._free: dict[tuple[str, bytes], str] = {}  # the name that a picture got for the one it came with
        self._numbers: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(2))

    def __enter__(self) -> DatasetWriter:
        (self._partial / "images").mkdir(parents=True)
        with contextlib.ExitStack() as files:
            self._lines = files.enter_context((self._partial / CAPTIONS_FILE).open("w", encoding="utf-8"))
            self._bad = files.enter_context((self._partial / QUARANTINE).open("w", encoding="utf-8"))
            # `None` of tqdm: only on a terminal
            self._bar = files.enter_context(tqdm(unit=" pictures", disable=None if self._progress else True))
            self._files = files.pop_all()
        return self

    def add(
        self,
        name: str,
        data: bytes,
        captions: Iterable[str | Sequence[str]],
        *,
        file: Path | None = None,
        group: str = "",
        split: str = "",
        **extra,
    ) -> None:
        """One picture with its captions; one picture may come again under another split with other captions. `file` is
        where the data were read from, if from one."""
        safe, digest = _safe(name), hashlib.sha256(data).digest()
        if self._names.setdefault(safe, digest) != digest:
            raise DataError(f"two different pictures are called {name!r}")
        target = self._partial / "images" / safe
        if not target.exists():
            if self._link and file:
                _link_file(file.resolve(), target)
            else:
                target.write_bytes(data)
        record = {"image": f"images/{safe}", "captions": list(captions)}
        record |= {k: v for k, v in {"group": group, "split": split, **extra}.items() if v}
        self._lines.write(textfile.to_json(record) + "\n")
        self._bar.update(len(self._names) - self.pictures)
        self.pictures, self.captions = len(self._names), self.captions + len(record["captions"])

    def read_picture(self, file: Path, source: str, line: int, what: str) -> bytes | None:
        """The bytes of a picture that `line` of `source` names; None where it cannot be read, and is left out. `what`
        says in words who names it, and how."""
        try:
            return file.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise  # of this process, and not of that picture
            self.leave_out(source, line, "missing_picture", f"{what}: {getattr(error, 'strerror', None) or error}")
            return None

    def leave_out(self, source: str, line: int, reason: str, detail: str, what: str = "record") -> None:
        """Tells of what cannot be taken: `source` and `line` say where it stands, `what` is a record or a caption."""
        entry = quarantined(source, line, reason, detail, what)
        self._bad.write(textfile.to_json(entry) + "\n")
        self.counts[what, reason] += 1
        if len(self.first) < _SHOWN:
            self.first.append(entry["detail"])

    @property
    def left_out(self) -> list[dict]:
        """The entries of `quarantine.jsonl`, when all is written."""
        path = self.out / QUARANTINE
        return [json.loads(line) for line in textfile.stream(path)] if path.exists() else []

    def told(self) -> str:
        """What was left out, by reason."""
        return ", ".join(f"{number} {what}s: {reason}" for (what, reason), number in self.counts.most_common())

    def free_name(self, name: str, data: bytes) -> str:
        """A name for the picture that no other one here has: its own, or that with a number."""
        safe, digest = _safe(name), hashlib.sha256(data).digest()
        if (safe, digest) not in self._free:
            stem, suffix = Path(safe).stem, Path(safe).suffix
            numbered = (f"{stem}-{number}{suffix}" for number in self._numbers[safe])
            names = (one for one in itertools.chain([safe], numbered) if self._names.get(one, digest) == digest)
            self._free[safe, digest] = next(names)
        return self._free[safe, digest]

    def _look(self) -> bool:
        """Whether `out` holds what the same import made before. Raises `DataError` where it holds something else."""
        if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
            return False
        try:
            before = textfile.from_json(textfile.read(self.out / ORIGIN))
            captions = hashlib.sha256((self.out / CAPTIONS_FILE).read_bytes()).hexdigest()
        except (OSError, ValueError):
            before, captions = {}, ""
        if not self._origin or not isinstance(before, dict) or before.get("origin") != self._origin:
            raise DataError(f"{self.out} is already there and not empty; {_AGAIN}")
        if before.get("captions_sha256") != captions:
            raise DataError(f"{self.out / CAPTIONS_FILE} was changed since it was imported; {_AGAIN}")
        return True

    def _check(self) -> None:
        """Raises `DataError` where too much was left out."""
        out = sum(number for (what, _), number in self.counts.items() if what == "record")
        all_ = self.pictures + out
        if self.pictures and out <= self.max_left_out * all_:
            return
        what = (
            f"{out} of {all_} pictures would be left out, more than {self.max_left_out:.0%}"
            if self.pictures
            else "nothing to import"
        )
        counts = ", ".join(f"{number} {reason}" for (_, reason), number in self.counts.most_common())
        first = "; ".join(self.first)
        raise DataError(f"{what}" + (f" ({counts}). The first: {first}" if counts else ": the source is empty"))

    def __exit__(self, kind, error, trace) -> None:
        self._files.close()
        try:
            if kind is None:
                self._check()
                self._finish()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _finish(self) -> None:
        if not self.counts:
            (self._partial / QUARANTINE).unlink()
        if self._origin:
            with (self._partial / CAPTIONS_FILE).open("rb") as lines:
                digest = hashlib.sha256()
                for block in iter(lambda: lines.read(1 << 20), b""):
                    digest.update(block)
            said = {"origin": self._origin, "pictures": self.pictures, "captions": self.captions}
            said["left_out"] = {f"{what}: {reason}": n for (what, reason), n in sorted(self.counts.items())}
            said["captions_sha256"] = digest.hexdigest()
            (self._partial / ORIGIN).write_text(textfile.to_json(said, indent=2) + "\n", encoding="utf-8")
        if self._replaces:
            aside = self._partial.with_name(self._partial.name + "-before")
            os.replace(self.out, aside)
            os.replace(self._partial, self.out)
            shutil.rmtree(aside)
            return
        if self.out.exists():
            self.out.rmdir()
        os.replace(self._partial, self.out)


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # of another disk, or of one that knows no hard links, or somebody else's file
        target.symlink_to(source)


def _safe(name: str) -> str:
    """As a file may be called anywhere."""
    path = Path(re.sub(r"[^\w.-]+", "-", name).strip("-."))
    return (path.stem[:100] or "picture") + path.suffix[:20]
