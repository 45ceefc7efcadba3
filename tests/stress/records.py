"""Lines of captions.jsonl, meme files and lists of Flickr8k that hold anything, from a seed.

>>> line(seed=7)
'{"image": "a.jpg", "captions": [null], "group": "surprised pikachu \\ud83d"}'
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

from memefly.datasets import flickr, records
from memefly.datasets.formats import bring
from memefly.errors import DataError
from memefly.textfile import to_json

TEXTS = (
    "a dog runs", "", " ", "?!", "\ud83d", "half \ud83d", "\udcff", "a\0b", "line\u2028end", "tab\x0band\x85", "ﬁ", "é",
    "a" * 5000, "../x", "/etc/passwd", ".", "images", "no/such.jpg", "images/a.jpg", "con\nnew", "\ufeff", "C:\\x",
    "a\tb", "//", "😀",
)  # fmt: skip
SPLITS = ("train", "val", "eval", "test", "dev", "", None, 3)


def value(drawer: random.Random, depth: int = 0):
    """Anything that JSON can hold."""
    kinds = 10 if depth < 3 else 7
    match drawer.randrange(kinds):
        case 0:
            return None
        case 1:
            return drawer.random() < 0.5
        case 2:
            return drawer.choice((0, -1, 1.5, 1e308, float("inf"), float("nan"), 10**30))
        case 7 | 8:
            return [value(drawer, depth + 1) for _ in range(drawer.randrange(4))]
        case 9:
            return {drawer.choice(TEXTS): value(drawer, depth + 1) for _ in range(drawer.randrange(3))}
        case _:
            return drawer.choice(TEXTS)


def line(seed: int) -> str:
    drawer = random.Random(seed)
    if drawer.random() < 0.15:
        return drawer.choice(
            (
                "{",
                "[" * 100_000,
                '{"image": ' + "9" * 5000 + "}",
                "nul",
                '"' + "\\ud83d" * 3 + '"',
                "\x00",
                "{}" * 3,
                "1e999999",
            )
        )
    if drawer.random() < 0.1:
        return json.dumps(value(drawer))
    record = {"image": drawer.choice(TEXTS), "captions": [drawer.choice(TEXTS) for _ in range(drawer.randrange(4))]}
    record["group"], record["split"] = drawer.choice(TEXTS), drawer.choice(SPLITS)
    for key in list(record):
        if drawer.random() < 0.15:
            record[key] = value(drawer)
        elif drawer.random() < 0.1:
            del record[key]
    return json.dumps(record, ensure_ascii=drawer.random() < 0.5)


def outcome(seed: int) -> str:
    """ "right", or the reason of the quarantine. Raises `AssertionError` where what comes of a line is no use."""
    try:
        record = records.parse(records.Line(1, line(seed)))
    except records.RecordError as error:
        assert error.reason in records.REASONS
        to_json({"detail": str(error)}).encode("utf-8")
        assert "line 1" in str(error), str(error)
        return error.reason
    for text in (*record.captions, *record.dropped, record.group):
        text.encode("utf-8")
    assert record.captions and record.split in ("", "train", "val", "eval", "test")
    assert not os.path.isabs(record.image) and b"\0" not in os.fsencode(record.image)
    to_json({"source": record.image}).encode("utf-8")
    return "right"


def meme_file(drawer: random.Random) -> str:
    memes = []
    for _ in range(drawer.randrange(5)):
        meme = {
            "meme_name": drawer.choice(TEXTS),
            "meme_url": "images/a.jpg",
            "meme_text": [drawer.choice(TEXTS) for _ in range(5)],
        }
        for key in list(meme):
            if drawer.random() < 0.15:
                meme[key] = value(drawer)
            elif drawer.random() < 0.1:
                del meme[key]
        memes.append(meme if drawer.random() < 0.9 else value(drawer))
    whole = memes if drawer.random() < 0.9 else value(drawer)
    return json.dumps(whole, ensure_ascii=drawer.random() < 0.5)


def encode(text: str, drawer: random.Random) -> bytes:
    encoding = drawer.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1"))
    content = text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
    if drawer.random() < 0.3:
        content = content.replace(b"\n", drawer.choice((b"\r\n", b"\r", b"\n\n")))
    if drawer.random() < 0.1:
        content = content[: drawer.randrange(len(content) + 1)]
    return content


def imported(seed: int, folder: Path) -> str:
    """What comes of importing a made-up meme file, or Flickr8k: "right", or "refused" with a `DataError`."""
    drawer, source = random.Random(seed), folder / "source"
    (source / "images").mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg", "c d.jpg"):
        (source / "images" / name).write_bytes(name.encode())
    if drawer.random() < 0.5:
        (source / "memes.json").write_bytes(encode(meme_file(drawer), drawer))
        format_ = "memefly"
    else:
        names = (
            ["a.jpg", "b.jpg", "c d.jpg"] + ["gone.jpg"] * (drawer.random() < 0.2) + ["../x"] * (drawer.random() < 0.05)
        )
        captions = "".join(f"{name}#{k}\t{drawer.choice(TEXTS)}\n" for name in names for k in range(2))
        (source / flickr.TOKENS[0]).write_bytes(encode(captions, drawer))
        cut = drawer.randrange(1, 3)
        for part, some in (("train", names[:cut]), ("eval", names[cut:])):
            (source / flickr.PARTS[part]).write_bytes(encode("\n".join(some) + "\n", drawer))
        format_ = "flickr8k"
    out = folder / f"out-{seed}"
    try:
        bring(format_, source, out)
    except DataError as error:
        assert not out.exists() and not list(folder.glob(".out*")) and str(error)
        return "refused"
    found = Counter()
    for one in records.read_lines(out):
        try:
            assert (out / records.parse(one).image).is_file()
            found["right"] += 1
        except records.RecordError as error:
            assert error.reason == "no_captions", error
    return "right"
