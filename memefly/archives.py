"""Unpacks zip archives from strangers, into their folder and nowhere else.

    >>> unzip(Path("annotations_trainval2017.zip"), Path("coco"), r"annotations/captions_\\w+\\.json")

An archive with a path out of the folder, a link, a password, two files of one name or far more content than its size
can hold honestly is refused before anything is written. What is there already, whole, is passed over.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from memefly.errors import DataError

_RATIO = 200  # of what is inside to what is stored; of JSON, 20 is much
_LARGEST = 1 << 40  # bytes inside, all together


def unzip(path: Path, folder: Path, wanted: str = r".*") -> int:
    """Unpacks the files whose path matches the regular expression `wanted` whole; how many were written. Raises
    `DataError` for an archive that is damaged or not to be trusted."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _trust(path, members)
            chosen = [member for member in members if re.fullmatch(wanted, member.filename)]
            missing = [member for member in chosen if not _is_there(folder / member.filename, member)]
            for member in tqdm(missing, desc=path.name, unit=" files", disable=None):
                _write(archive, member, folder / member.filename)
            return len(missing)
    # NotImplementedError: zipfile's, of a compression that it does not have, which damaged bytes may name.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{path} is damaged, or no zip archive: {error}; remove it and fetch it again") from None


def _trust(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raises `DataError`."""
    seen: set[str] = set()
    for member in members:
        name = PurePosixPath(member.filename)
        wrong = ""
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or re.match(r"\w:", member.filename):
            wrong = "leads out of the folder"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            wrong = "is a link or a device"
        elif member.flag_bits & 0x1:
            wrong = "needs a password"
        elif member.filename in seen:
            wrong = "is there twice"
        if wrong:
            raise DataError(f"{path}: {member.filename!r} {wrong}; nothing was unpacked")
        seen.add(member.filename)
    inside, stored = sum(member.file_size for member in members), path.stat().st_size
    if inside > _LARGEST or inside > _RATIO * max(stored, 1 << 20):
        raise DataError(f"{path}: {inside:,} bytes in {stored:,} are a decompression bomb; nothing was unpacked")


def _is_there(path: Path, member: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == member.file_size


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """zipfile itself ends at the size that the archive declares, and compares the checksum at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        with archive.open(member) as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
