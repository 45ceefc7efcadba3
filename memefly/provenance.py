"""Where a result comes from: the commit of this code, and digests of the files that a stage depends on.

>>> code_digest("memefly/text.py", "memefly/networks")
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import subprocess
from importlib import metadata
from pathlib import Path

from memefly import storage
from memefly.storage import Place

_VERSIONS = ("tensorflow", "tf-keras", "tfx", "apache-beam", "tensorflow-transform", "tensorflow-model-analysis")


@functools.cache
def place_of(package: str) -> Path:
    """The folder that a package of ours was imported from, or would be: a checkout's, or where it is installed. Raises
    `ModuleNotFoundError`."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package!r} here; memefly's are memefly, components and pipeline")
    return Path(next(iter(found.submodule_search_locations)))


@functools.lru_cache(maxsize=1)
def git_commit() -> str:
    """The commit of this code, with `+` where it was changed since; empty where this code is in no repository."""
    here = place_of("memefly")

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return done.stdout.strip()

    # Installed below somebody's repository, it is none of theirs.
    commit = git("ls-files", "__init__.py") and git("rev-parse", "HEAD")
    return commit + "+" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


def file_digest(path: str | Place) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    content = hashlib.sha256()
    with storage.at(path).open("rb") as file:
        while part := file.read(1 << 20):
            content.update(part)
    return content.hexdigest()


def code_digest(*paths: str) -> str:
    """SHA-256 over source files and folders of them, with their word lists; a path begins with the name of its package.

    TFX's cache knows a component by its name and parameters, and would hand out what older code made; a component
    that takes this as a parameter runs again when its code has changed. Raises `FileNotFoundError`.
    """
    content = hashlib.sha256()
    for path in paths:
        package, _, inside = path.partition("/")
        home = place_of(package)
        file = home / inside
        if not file.exists():  # moved, and a digest of nothing never changes
            raise FileNotFoundError(f"{file}: no such source file or folder")
        for source in [file] if file.is_file() else sorted((*file.rglob("*.py"), *file.rglob("*.txt"))):
            content.update(source.relative_to(home.parent).as_posix().encode() + b"\0" + source.read_bytes())
    return content.hexdigest()


def versions(*names: str) -> dict[str, str]:
    """Installed versions of what results depend on, or of these."""
    found = {}
    for name in names or _VERSIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
