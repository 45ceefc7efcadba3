"""What a ROOT has been told to forget, and is never to take in again: by digests, without the content.

>>> add("root", "picture", "9f86d0…", why="she asked for it", who="ada")
>>> read("root")
{'picture': frozenset({'9f86d0…'}), 'caption': frozenset()}

ROOT/forgotten.jsonl     {when, who, why, kind, digest} a line; of a caption the digest is that of its words
"""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

from memefly import storage, text, textfile
from memefly.errors import UsageError

FILE = "forgotten.jsonl"
KINDS = ("picture", "caption")
FORGOTTEN = "forgotten"  # why a record or a caption is in the quarantine


def read(root: str | Path) -> dict[str, frozenset[str]]:
    """Digests, by kind. Raises `UsageError` where a line is none of ours: what was to be forgotten must not come back
    because of it."""
    path, found = Path(root) / FILE, {kind: set[str]() for kind in KINDS}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [], 1):
        try:
            said = json.loads(line)
            found[said["kind"]].add(said["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}, line {number}, is not what `memefly forget` wrote ({error!r}); mend that line: what it names "
                "must not come back"
            ) from None
    return {kind: frozenset(digests) for kind, digests in found.items()}


def digest(root: str | Path) -> str:
    """Of all that is forgotten; empty where nothing is. Who, when and why do not enter."""
    found = [f"{kind} {one}" for kind, digests in read(root).items() for one in sorted(digests)]
    return hashlib.sha256("\n".join(found).encode()).hexdigest() if found else ""


def add(root: str | Path, kind: str, digest: str, why: str, who: str) -> None:
    """Written through to the disk; once."""
    if digest in read(root)[kind]:
        return
    path = Path(root) / FILE
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    said = textfile.to_json({"when": when, "who": who, "why": why, "kind": kind, "digest": digest}) + "\n"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    storage.replace(path, before + said)


def digest_of(caption: str) -> str:
    """Of a caption's words, however it is spelled."""
    return hashlib.sha256(" ".join(text.tokenize(caption)).encode()).hexdigest()
