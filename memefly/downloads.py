"""Downloads: whole or not at all, resumed where they stopped, and polite.

    >>> Downloader().fetch(Remote("http://images.cocodataset.org/zips/val2017.zip", path, 815_585_330, md5))

What has come so far is in `NAME.partial` and goes on from there (RFC 9110, range requests), in the next call too, as
long as the server has the same file (`If-Range`). It becomes NAME when its length is what server and caller say, its
MD5 is the one wanted, and it is a picture where one was asked for. Stalls, cuts and servers that are busy (429, 5xx)
are tried again, later each time and not all at once; what is not there, or is something else, is told at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tqdm import tqdm

from memefly import images, textfile
from memefly.errors import DownloadError, PictureError, first_line

if TYPE_CHECKING:
    import requests

_BLOCK = 1 << 16
_BUSY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Remote:
    """What to fetch, and where to. `size` in bytes and `md5` in hex are what it must have, where they are known;
    `picture`: it must be one."""

    url: str
    path: Path
    size: int | None = None
    md5: str = ""
    picture: bool = False


@dataclass(frozen=True)
class Policy:
    """Seconds and bytes."""

    tries: int = 6
    patience: float = 30.0  # without a byte, or with fewer than `slowest` a second
    slowest: int = 1000
    first_pause: float = 1.0  # before a second try; twice that before a third, with jitter
    longest_pause: float = 60.0  # also of what a server asks for
    largest: int = 1 << 28  # of a file whose size nobody said
    at_once: int = 4


class _AgainError(Exception):
    """Worth another try; `after` is the pause that the server asks for."""

    def __init__(self, detail: str, after: float | None = None):
        super().__init__(detail)
        self.after = after


class Downloader:
    """Thread-safe."""

    def __init__(self, policy: Policy | None = None):
        self._policy = policy or Policy()
        self._wait_until: dict[str, float] = {}  # by host, where it asked for a pause
        self._lock = threading.Lock()
        self._local = threading.local()

    def fetch(self, remote: Remote, progress: bool = True) -> Path:
        """Where the file is, fetched unless it is there. Raises `DownloadError` where it cannot be had."""
        import tenacity

        if remote.path.is_file() and _is_whole(remote):
            return remote.path
        remote.path.parent.mkdir(parents=True, exist_ok=True)
        policy = self._policy
        backoff = tenacity.wait_exponential_jitter(policy.first_pause, policy.longest_pause, jitter=policy.first_pause)

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.after if isinstance(error, _AgainError) else None
            return min(max(backoff(state), asked or 0.0), policy.longest_pause)

        tries = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(policy.tries),
            wait=pause,
            retry=tenacity.retry_if_exception_type(_AgainError),
            reraise=True,
        )
        try:
            tries(self._attempt, remote, progress)
        except _AgainError as error:
            raise DownloadError(
                f"{remote.url} could not be fetched in {policy.tries} tries: {error}. What has come is kept; the same "
                "command goes on from there"
            ) from None
        return remote.path

    def fetch_all(self, remotes: Iterable[Remote], failed: Path) -> dict[str, str]:
        """Fetches many, a few at once, and passes over those that are there. By the name of its file, why one could not
        be had; `failed` lists the same (JSON Lines: url, path, reason), or is gone where all could: what is missing is
        tried again by the next call."""
        reasons: dict[str, tuple[str, str]] = {}
        running: dict[Future, Remote] = {}
        pool = ThreadPoolExecutor(self._policy.at_once)

        def collect(done: Iterable[Future]) -> None:
            for future in done:
                remote = running.pop(future)
                bar.update()
                try:
                    future.result()
                except DownloadError as error:
                    reasons[remote.path.name] = (remote.url, str(error))

        with tqdm(unit=" downloads", disable=None) as bar:
            try:
                for remote in remotes:
                    running[pool.submit(self.fetch, remote, False)] = remote
                    if len(running) >= 2 * self._policy.at_once:
                        collect(wait(running, return_when=FIRST_COMPLETED).done)
                collect(wait(running).done)
            finally:
                pool.shutdown(cancel_futures=True)
        _tell(failed, reasons)
        return {name: reason for name, (_, reason) in reasons.items()}

    def _attempt(self, remote: Remote, progress: bool) -> None:
        import requests
        import urllib3

        host = urlsplit(remote.url).netloc
        with self._lock:
            pause = self._wait_until.get(host, 0.0) - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, self._policy.longest_pause))
        partial = _Partial(remote.path)
        headers = {"User-Agent": "memefly (data set import)", "Accept-Encoding": "identity", **partial.range()}
        try:
            answer = self._session().get(remote.url, headers=headers, stream=True, timeout=self._policy.patience)
            with answer:
                self._judge(answer, remote, partial, host)
                self._read(answer, remote, partial, progress)
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
            raise DownloadError(f"{remote.url} is no address: {first_line(error)}") from None
        except (requests.exceptions.InvalidSchema, requests.exceptions.TooManyRedirects) as error:
            raise DownloadError(f"{remote.url} leads nowhere: {first_line(error)}") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:  # a cut, a stall
            raise _AgainError(f"after {partial.size:,} bytes: {_plain(error)}") from None
        except ValueError as error:  # of an address that the server sends on to, and that Python cannot read
            raise DownloadError(f"{remote.url} leads nowhere: {first_line(error)}") from None
        _check(remote, partial)
        os.replace(partial.path, remote.path)
        partial.forget()

    def _session(self) -> requests.Session:
        import requests

        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.max_redirects = 5
        return self._local.session

    def _judge(self, answer: requests.Response, remote: Remote, partial: _Partial, host: str) -> None:
        """Goes on where the answer is the file or the rest of it."""
        status = answer.status_code
        if status in _BUSY:
            after = _seconds(answer.headers.get("Retry-After", ""))
            with self._lock:
                until = time.monotonic() + min(after or 0.0, self._policy.longest_pause)
                self._wait_until[host] = max(self._wait_until.get(host, 0.0), until)
            raise _AgainError(f"the server says {status} {answer.reason}", after)
        if status == 416:  # a range beyond its end: what is here is no part of it
            partial.drop()
            raise _AgainError("the server has nothing after what came before")
        if status not in (200, 206):
            raise DownloadError(f"{remote.url}: the server says {status} {answer.reason}")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise DownloadError(f"{remote.url}: expected a file, got a page ({kind})")
        encoded = answer.headers.get("Content-Encoding", "identity") != "identity"  # though nobody asked for that
        if (
            status == 200
            or encoded
            or answer.headers.get("Content-Range", "").partition("-")[0] != f"bytes {partial.size}"
        ):
            if status == 206:
                partial.drop()
                raise _AgainError("the server sent another part than was asked for")
            partial.drop()
        declared = _declared(answer)
        if declared is not None and remote.size is not None and partial.size + declared != remote.size:
            raise DownloadError(
                f"{remote.url}: expected {remote.size:,} bytes, and the server has {partial.size + declared:,}"
            )
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        partial.remember("" if encoded else mark)

    def _read(self, answer: requests.Response, remote: Remote, partial: _Partial, progress: bool) -> None:
        declared = _declared(answer)
        whole = partial.size + declared if declared is not None else remote.size
        limit = remote.size if remote.size is not None else max(whole or 0, self._policy.largest)
        if remote.size is None and (whole or 0) > self._policy.largest and remote.picture:
            raise DownloadError(f"{remote.url}: {whole:,} bytes are too many for a picture")
        since, came = time.monotonic(), 0
        bar = tqdm(
            desc=remote.path.name, initial=partial.size, total=whole, unit="B", unit_scale=True,
            disable=None if progress else True,
        )  # fmt: skip
        with bar, partial.path.open("ab") as file:
            # As much as has come: whole blocks would hold up the look at the clock, and be lost where the end is.
            while block := answer.raw.read1(_BLOCK, decode_content=True):
                file.write(block)
                bar.update(len(block))
                partial.size, came = partial.size + len(block), came + len(block)
                if partial.size > limit:
                    file.close()
                    partial.drop()
                    raise DownloadError(f"{remote.url}: expected {limit:,} bytes at most, and more came")
                waited = time.monotonic() - since
                if waited > self._policy.patience:
                    if came < self._policy.slowest * waited:
                        raise _AgainError(f"after {partial.size:,} bytes: {came} in {waited:.0f} s are too few")
                    since, came = time.monotonic(), 0
        if whole is not None and partial.size < whole:
            raise _AgainError(f"cut off after {partial.size:,} of {whole:,} bytes")


class _Partial:
    """What has come of a file, and the mark by which a server knows whether it is still the same one."""

    def __init__(self, path: Path):
        self.path = path.with_name(f"{path.name}.partial")
        self._mark = path.with_name(f"{path.name}.partial-mark")
        self.size = self.path.stat().st_size if self.path.is_file() else 0

    def range(self) -> dict[str, str]:
        """Headers that ask for the rest. Without a mark it could be the rest of something else."""
        mark = self._mark.read_text(encoding="utf-8") if self._mark.is_file() else ""
        if not self.size or not mark or mark.startswith("W/"):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": mark}

    def remember(self, mark: str) -> None:
        self._mark.write_text(mark, encoding="utf-8")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.size = 0

    def forget(self) -> None:
        self._mark.unlink(missing_ok=True)


def _is_whole(remote: Remote) -> bool:
    """Of a file that is there; what has the right size was checked when it came."""
    if remote.size is not None:
        return remote.path.stat().st_size == remote.size
    return not remote.md5 or _md5(remote.path) == remote.md5


def _check(remote: Remote, partial: _Partial) -> None:
    """Raises `DownloadError`, and keeps nothing, where what came is not what was wanted."""
    wrong = ""
    if remote.size is not None and partial.size != remote.size:
        wrong = f"expected {remote.size:,} bytes, got {partial.size:,}"
    elif remote.md5 and (found := _md5(partial.path)) != remote.md5:
        wrong = f"expected MD5 {remote.md5}, got {found}"
    elif remote.picture:
        try:
            images.read(partial.path)
        except PictureError as error:
            wrong = f"expected a picture, got something else ({error})"
    if wrong:
        partial.drop()
        partial.forget()
        raise DownloadError(f"{remote.url}: {wrong}; nothing of it was kept")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _seconds(after: str) -> float | None:
    """Of the header Retry-After: seconds, or a date."""
    if after.strip().isdigit():
        return float(after)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    return None


def _declared(answer: requests.Response) -> int | None:
    """How many bytes are to come, where the server says so of what is handed on."""
    length = answer.headers.get("Content-Length", "").strip()
    encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
    return int(length) if length.isdigit() and not encoded else None


def _plain(error: Exception) -> str:
    """The cause that requests wraps."""
    said = str(error)
    for sign, words in (("timed out", "it stalled"), ("refused", "connection refused"), ("IncompleteRead", "cut off")):
        if sign in said:
            return words
    return first_line(error)


def _tell(path: Path, reasons: dict[str, tuple[str, str]]) -> None:
    if not reasons:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines: Iterator[str] = (
        textfile.to_json({"path": name, "url": url, "reason": reason}) + "\n"
        for name, (url, reason) in sorted(reasons.items())
    )
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("".join(lines), encoding="utf-8")
    os.replace(partial, path)
