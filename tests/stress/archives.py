"""Archives that hold anything, or are damaged, from a seed: tar shards of samples, and zips.

>>> outcome(seed=7, folder)
'broken_archive'
"""

from __future__ import annotations

import io
import random
import stat
import tarfile
import warnings
import zipfile
from pathlib import Path

from memefly import archives
from memefly.datasets import records
from memefly.datasets.formats import bring
from memefly.errors import DataError

NAMES = (
    "../x",
    "/etc/x",
    "a/../../x",
    "",
    ".",
    "x" * 300,
    "a\n",
    "caf\udce9",
    "-rf",
    "a.",
    ".jpg",
    "..jpg",
    "a//b",
    "é",
)
TEXTS = (
    b"",
    b"\xff\xfe",
    b"\0",
    b"caf\xe9",
    b"{",
    b"[]",
    b'{"caption": 3}',
    b'{"caption": ["a", ["b"]]}',
    b"x" * 2_000_000,
)
KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"V")


def shard(drawer: random.Random, path: Path) -> set[str]:
    """A tar shard; the names of its good samples."""
    good = set()
    with tarfile.open(path, "w", format=drawer.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as tar:

        def add(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> None:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))

        for number in range(drawer.randrange(1, 8)):
            if drawer.random() < 0.5:
                good.add(f"good-{number}.jpg")
                add(f"good-{number}.jpg", f"picture {number}".encode())
                add(f"good-{number}.txt", f"said of {number}".encode())
                continue
            name = drawer.choice(NAMES) + drawer.choice(("", ".jpg", ".txt", ".json", ".1.txt"))
            if drawer.random() < 0.3:
                add(name, b"", drawer.choice(KINDS))
            else:
                add(name, drawer.choice(TEXTS))
    return good


def of_a_shard(drawer: random.Random, path: Path, out: Path) -> str:
    good = shard(drawer, path)
    damaged = drawer.random() < 0.5
    if damaged:
        content = bytearray(path.read_bytes())
        cut = drawer.randrange(len(content))
        if drawer.random() < 0.5:
            content = content[:cut]
        else:
            content[cut : cut + 20] = drawer.randbytes(20)
        path.write_bytes(content)
    try:
        written = bring("webdataset", path, out)
    except DataError as error:
        assert (damaged or not good) and str(error) and not out.exists()
        return "refused"
    names = {records.parse(line).image.removeprefix("images/") for line in records.read_lines(out)}
    assert damaged or good <= names, f"{good - names} are lost"
    assert all((out / "images" / name).is_file() for name in names)
    if not written.counts:
        return "right"
    return written.counts.most_common(1)[0][0][1]


def of_a_zip(drawer: random.Random, path: Path, out: Path) -> str:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for number in range(drawer.randrange(1, 6)):
            bad = drawer.random() < 0.2
            name = (drawer.choice(NAMES) if bad else f"folder/{number}.txt").encode("utf-8", "replace").decode()
            member = zipfile.ZipInfo(name or "x")
            member.external_attr = (drawer.choice((stat.S_IFLNK, stat.S_IFIFO)) if bad else stat.S_IFREG) << 16
            archive.writestr(member, drawer.randbytes(drawer.randrange(2000)))
    if drawer.random() < 0.5:
        content = bytearray(path.read_bytes())
        for _ in range(drawer.randrange(1, 8)):
            content[drawer.randrange(len(content))] ^= 1 << drawer.randrange(8)
        path.write_bytes(content)
    try:
        archives.unzip(path, out)
    except DataError as error:
        assert str(path) in str(error)
        result = "refused"
    else:
        result = "right"
    made = [one for one in path.parent.rglob("*") if one.is_symlink() or (one.is_file() and "partial" in one.name)]
    assert not made, made
    assert {one.name for one in path.parent.iterdir()} <= {path.name, out.name}, "something was written outside"
    return result


def outcome(seed: int, folder: Path) -> str:
    """ "right", "refused", or the commonest reason of what was left out. Raises `AssertionError` where something good
    is lost, or something is where it should not be."""
    drawer = random.Random(seed)
    here = folder / str(seed)
    here.mkdir()
    if drawer.random() < 0.6:
        return of_a_shard(drawer, here / "a.tar", here / "out")
    return of_a_zip(drawer, here / "a.zip", here / "out")
