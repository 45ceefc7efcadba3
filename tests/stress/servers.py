"""Servers that misbehave in some way, from a seed, beside a file that is served well.

>>> outcome(seed=7, folder)
'refused'
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from file_server import FileServer, Served

from memefly.downloads import Downloader, Policy, Remote

QUICK = Policy(tries=3, patience=0.2, first_pause=0.001, longest_pause=0.05, largest=1 << 20)


def served(drawer: random.Random, data: bytes) -> Served:
    one = Served(data, times=drawer.choice((1, 2, 9)))
    length = len(data)
    for _ in range(drawer.randrange(1, 3)):
        match drawer.randrange(12):
            case 0:
                one.statuses = drawer.choices(
                    (404, 403, 410, 418, 429, 500, 502, 503, 504, 301), k=drawer.randrange(1, 4)
                )
            case 1:
                one.truncate_after = drawer.randrange(length)
            case 2:
                one.stall_after, one.times = drawer.randrange(length), 1
            case 3:
                one.declared = drawer.choice((0, 1, length - 1, length + 1, 10 * length))
            case 4:
                one.ranges = False
            case 5:
                one.etag = drawer.choice(("", 'W/"weak"'))
            case 6:
                one.shifted = True
            case 7:
                one.kind = drawer.choice(("text/html", "image/jpeg", "", "nonsense", "TEXT/HTML; charset=x"))
            case 8:
                one.redirect = drawer.choice(
                    ("/a", "/good", "file:///etc/passwd", "http://127.0.0.1:9/", "//", "http://[")
                )
            case 9:
                one.retry_after = drawer.choice(("0", "1", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 400))
                one.statuses = [429]
            case 10:
                one.encoding = drawer.choice(("gzip", "identity", "unknown"))
            case 11:
                one.endless, one.times = True, 1
    return one


def outcome(seed: int, folder: Path) -> str:
    """ "right" or "refused". Raises `AssertionError` where what came is not what was meant, or the good one is lost."""
    drawer = random.Random(seed)
    data = drawer.randbytes(drawer.choice((1, 1000, 70_000, 200_000)))
    wanted = {"size": len(data)} if drawer.random() < 0.3 else {}
    wanted |= {"md5": hashlib.md5(data).hexdigest()} if drawer.random() < 0.7 or not wanted else {}
    here = folder / str(seed)
    bad = served(drawer, data)
    with FileServer({"/a": bad, "/good": Served(b"good")}) as server:
        remotes = [Remote(server.url("/a"), here / "a", **wanted), Remote(server.url("/good"), here / "good")]
        failed = Downloader(QUICK).fetch_all(iter(remotes), here / "failed.jsonl")
    assert (here / "good").read_bytes() == b"good"
    if "a" in failed:
        assert not (here / "a").exists() and (here / "failed.jsonl").is_file() and failed["a"]
        return "refused"
    found = (here / "a").read_bytes()
    # Of the right length and without a checksum, only the server knows what it is.
    assert found == data or (not wanted.get("md5") and len(found) == len(data))
    return "right"
