"""What every request passes on its way in and every answer on its way out: who asks, how often, a number to find it by
in the log, headers that keep browsers from harm.

    app = Front(app, config, registry, model=lambda: backend.status().model)

A line of JSON a request goes to the logger `memefly.requests`: when, request id, method, path, status, milliseconds by
stage, bytes, which version answered. No picture and no word is in it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from prometheus_client import CollectorRegistry, Gauge, Histogram

from memefly.serving.backends import Model
from memefly.serving.inquiry import bounded
from memefly.serving.settings import ServiceConfig

log = logging.getLogger("memefly.requests")

KEYS = "MEMEFLY_API_KEYS"  # in the environment: keys, parted by commas
FAILED = "failed", "something went wrong in the server; its log says what"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN = ("/healthz", "/readyz", "/metrics")  # of probes, which have no key and no limit
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Keys:
    """API keys, of a file with one a line and of the environment. A file is read anew when it changes: who is taken out
    of it is out, and all are where it is gone."""

    def __init__(self, file: Path | None):
        self._file, self._seen = file, (0, 0)
        self._lock = threading.Lock()
        self._own = self._of(os.environ.get(KEYS, "").split(","))
        self._filed: list[bytes] = []
        if file:
            self._refresh()

    @property
    def wanted(self) -> bool:
        return self._file is not None or bool(self._own)

    def name_of(self, key: str) -> str | None:
        """Something to tell the holders of keys apart by; None where it is none of them. Takes as long whichever it
        is."""
        if self._file:
            self._refresh()
        told, found = hashlib.sha256(key.encode("utf-8", "replace")).digest(), None
        for digest in [*self._own, *self._filed]:
            if hmac.compare_digest(digest, told):
                found = digest.hex()[:12]
        return found

    def _refresh(self) -> None:
        assert self._file
        with self._lock:
            try:
                stat = self._file.stat()
                if (stat.st_mtime_ns, stat.st_size) != self._seen:
                    lines = self._file.read_text(encoding="utf-8").splitlines()
                    self._filed = self._of([line for line in lines if not line.lstrip().startswith("#")])
                    self._seen = (stat.st_mtime_ns, stat.st_size)
            except (OSError, UnicodeDecodeError) as error:
                logging.getLogger("memefly.service").error("%s: no key of it counts (%s)", self._file, error)
                self._filed, self._seen = [], (0, 0)

    @staticmethod
    def _of(keys: list[str]) -> list[bytes]:
        return [hashlib.sha256(key.strip().encode()).digest() for key in keys if key.strip()]


class Front:
    """ASGI middleware."""

    def __init__(self, app, config: ServiceConfig, registry: CollectorRegistry, model: Callable[[], Model | None]):
        self._app, self._config, self._model = app, config, model
        self._keys = Keys(config.keys)
        self._rate = parse(config.rate) if config.rate else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._at_once: Counter[str] = Counter()
        self._seconds = Histogram(
            "memefly_request_seconds",
            "Seconds from a request's arrival to its answer",
            ["status"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4),
            registry=registry,
        )
        self._going = Gauge("memefly_requests", "Requests that are worked on", registry=registry)

    async def __call__(self, scope: MutableMapping[str, Any], receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, told = time.perf_counter(), _Told()
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get(b"x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["stages"] = told.stages

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told.status, told.begun = message["status"], True
                told.model = scope["state"].get("model") or self._model()
                self._add(message, request_id, told.model)
            elif message["type"] == "http.response.body":
                told.bytes += len(message.get("body", b""))
            await send(message)

        open_to_all = scope["path"] in _OPEN
        client = (scope.get("client") or ("",))[0]
        self._going.inc()
        try:
            if not open_to_all:
                if self._keys.wanted and not _is_page(scope):
                    name = self._keys.name_of(_key_of(headers))
                    if name is None and (wait := self._too_often(client)):  # nobody may guess as often as he likes
                        await _refuse(answer, 429, "too_often", f"more than {self._config.rate} of one client", wait)
                        return
                    if name is None:
                        await _refuse(answer, 401, "no_key", "expected a known API key: Authorization: Bearer KEY")
                        return
                    client = name
                if wait := self._too_often(client):
                    await _refuse(answer, 429, "too_often", f"more than {self._config.rate} of one client", wait)
                    return
            self._at_once[client] += 1
            try:
                most = self._config.at_once
                if most and not open_to_all and self._at_once[client] > most:
                    detail = f"{most} requests of one client are worked on already"
                    await _refuse(answer, 429, "too_many_at_once", detail, 1)
                    return
                await self._app(scope, bounded(receive, headers, self._config), answer)
            except Exception:  # clients hear no more than that there was one
                logging.getLogger("memefly.service").exception("request %s failed", request_id)
                if told.begun:
                    raise
                await _refuse(answer, 500, *FAILED)
            finally:
                self._at_once[client] -= 1
                if not self._at_once[client]:
                    del self._at_once[client]
        finally:
            self._going.dec()
            seconds = time.perf_counter() - started
            if scope["method"] == "POST":
                self._seconds.labels(str(told.status)).observe(seconds)
            if not open_to_all:
                self._note(scope, request_id, told, seconds)

    def _too_often(self, client: str) -> int:
        """Seconds to wait; 0: none."""
        if self._rate is None or self._limiter.hit(self._rate, client):
            return 0
        return max(1, round(self._limiter.get_window_stats(self._rate, client).reset_time - time.time()))

    def _add(self, message: MutableMapping[str, Any], request_id: str, model: Model | None) -> None:
        there = {name.lower() for name, _ in message["headers"]}
        added = {**_HEADERS, "x-request-id": request_id}
        if model:
            added |= {"x-model-name": model.name, "x-model-version": str(model.version or "")}
            added |= {"x-model-digest": model.digest} if model.digest else {}
        if self._config.origins:
            added["cross-origin-resource-policy"] = "cross-origin"
        new = [(name.encode(), value.encode("latin-1")) for name, value in added.items() if name.encode() not in there]
        message["headers"] = [*message["headers"], *new]

    def _note(self, scope: MutableMapping[str, Any], request_id: str, told: _Told, seconds: float) -> None:
        said = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": request_id,
            "method": scope["method"],
            "path": scope["path"],
            "status": told.status,
            "ms": round(1000 * seconds, 1),
            "stages": {name: round(1000 * value, 1) for name, value in told.stages.items()},
            "bytes": told.bytes,
            "version": told.model.version if told.model else None,
        }
        words = scope["state"].get("words")
        log.info("%s", json.dumps(said | ({"words": words} if words and self._config.log_words else {})))


class _Told:
    def __init__(self) -> None:
        self.status, self.bytes, self.begun = 500, 0, False
        self.model: Model | None = None
        self.stages: dict[str, float] = {}


def _is_page(scope: MutableMapping[str, Any]) -> bool:
    """The page itself holds nothing to keep, and asks for a key."""
    return scope["method"] == "GET" and not scope["path"].startswith("/v1/")


def _key_of(headers: dict[bytes, str]) -> str:
    scheme, _, key = headers.get(b"authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", "")


async def _refuse(send, status: int, reason: str, detail: str, wait: int | None = None) -> None:
    body = json.dumps({"error": {"reason": reason, "detail": detail}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"retry-after", str(wait).encode())] if wait else []
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
