"""Brings the captions of a picture together, from sources that have them in any order and are larger than memory.

    >>> with Gathered() as gathered:
    ...     gathered.caption("a.jpg", "a cat", line=1)
    ...     for picture in gathered.pictures(limit=1000): …

What is gathered lies in a private database of SQLite in the temporary folder, which goes when it is closed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memefly import textfile


@dataclass(frozen=True)
class Picture:
    """`line` is where it was first named; `about` what the source says of it."""

    key: str
    line: int
    about: dict[str, Any]
    captions: list[str | list[str]]


class Gathered:
    def __enter__(self) -> Gathered:
        self._database = sqlite3.connect("")  # a temporary file that has no name
        self._database.executescript(
            """
            PRAGMA journal_mode = OFF;
            CREATE TABLE pictures (id INTEGER PRIMARY KEY, key BLOB UNIQUE, line INTEGER, about TEXT, place BLOB);
            CREATE TABLE captions (picture INTEGER, caption TEXT);
            """
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def picture(self, key: str, line: int, **about: Any) -> bool:
        """Whether it is new: of a picture that is named twice, what was said first stays."""
        stored = _stored(key)
        done = self._database.execute(
            "INSERT OR IGNORE INTO pictures (key, line, about, place) VALUES (?, ?, ?, ?)",
            (stored, line, textfile.to_json(about), hashlib.sha256(stored).digest()),
        )
        return done.rowcount == 1

    def caption(self, key: str, caption: str | Sequence[str], line: int = 0, only_known: bool = False) -> bool:
        """Whether it was kept: with `only_known`, that of a picture that nobody named is not."""
        if not only_known:
            self.picture(key, line)
        found = self._database.execute("SELECT id FROM pictures WHERE key = ?", (_stored(key),)).fetchone()
        if found:
            values = (found[0], textfile.to_json(caption))
            self._database.execute("INSERT INTO captions VALUES (?, ?)", values)
        return bool(found)

    def pictures(self, limit: int | None = None) -> Iterator[Picture]:
        """In the order of their keys; with a `limit`, so many of them, drawn evenly (by hash)."""
        self._database.execute("CREATE INDEX IF NOT EXISTS of_picture ON captions (picture)")
        rows = self._database.execute(
            """
            SELECT key, line, about, caption
            FROM (SELECT * FROM pictures ORDER BY place LIMIT ?) AS drawn
            LEFT JOIN captions ON captions.picture = drawn.id
            ORDER BY key, captions.rowid
            """,
            (-1 if limit is None else limit,),
        )
        for (key, line, about), group in itertools.groupby(rows, lambda row: row[:3]):
            captions = [json.loads(row[3]) for row in group if row[3] is not None]
            yield Picture(key.decode("utf-8", "surrogatepass"), line, json.loads(about), captions)


def _stored(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # names of files need not be UTF-8
