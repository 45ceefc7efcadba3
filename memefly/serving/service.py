"""The HTTP interface.

    POST /v1/captions      pictures as multipart/form-data (any field, several of them) or one as the body itself; knobs
                           of decoding as query parameters (?beam=5&temperature=0.8&seed=7), and with ?prefix=one+does
                           what captions are to begin with
    GET  /healthz          200 while the process answers
    GET  /readyz           200 while there is a model that answers, else 503
    GET  /metrics          Prometheus

    curl --data-binary @cat.jpg localhost:8000/v1/captions
    {"results": [{"name": "picture", "captions": [{"caption": "a cat\\non a mat", "boxes": ["a cat", "on a mat"],
                                                   "score": -0.41}]}]}

Each picture is checked and, where TensorFlow does not read it as it is (WebP, CMYK, 16-bit, EXIF-rotated, animated),
written anew before it meets others in a batch. One that cannot be read has an `error` with a `reason` of
`memefly.images.REASONS` in the place of `captions`, one of whose captions none may be said `unsafe`; the others have
their captions.

Status: 200 at least one picture has captions; 422 none of them has; 400 wrong use; 413 too many or too large;
415 a body in a content coding; 503 no model, or too many pictures wait (with Retry-After). Errors are
{"error": {"reason": …, "detail": …}}.

What a request can cost is bounded: its bytes, while they arrive; its pictures; the pictures that wait, over all
requests; and those that are decoded at once, since a small file may hold many pixels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from memefly import images
from memefly.decoding import KNOBS, PREFIX, DecodingConfig
from memefly.errors import BackendError, BusyError, ModelError, PictureError, UnsafeError, in_our_words
from memefly.serving.backends import Backend

log = logging.getLogger("memefly.service")

MAX_PICTURES = 16
MAX_BYTES = 20 << 20  # of a request's body
MAX_PIXELS = 25_000_000  # of a picture; each is held decoded, twice, while it is checked
MAX_WAITING = 64  # pictures, over all requests
MAX_PREFIX = 500  # characters that captions are to begin with
_DECODED_AT_ONCE = 2
_FORM = "multipart/form-data"
_FAILED = {"error": {"reason": "failed", "detail": "something went wrong in the server; its log says what"}}


class Refusal(HTTPException):
    """An answer that is an error: its status, and what its `reason` and `detail` are to be."""

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, detail, headers)
        self.reason = reason


class _Metrics:
    def __init__(self, registry: CollectorRegistry):
        self.pictures = Counter("memefly_pictures", "Pictures by what came of them", ["outcome"], registry=registry)
        self.seconds = Histogram(
            "memefly_request_seconds",
            "Seconds from a request's arrival to its answer",
            ["status"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4),
            registry=registry,
        )
        self.ready = Gauge("memefly_ready", "1 while there is a model that answers", registry=registry)


def create_app(backend: Backend) -> Starlette:
    """The service over a backend, which is closed with it."""
    registry = CollectorRegistry()
    metrics = _Metrics(registry)
    waiting = 0
    # Of their own, so that pictures which wait take no thread from the probes.
    decoding, asking = anyio.CapacityLimiter(_DECODED_AT_ONCE), anyio.CapacityLimiter(MAX_WAITING)

    async def captions(request: Request) -> Response:
        started, status = time.perf_counter(), 500
        try:
            response = await answer(request)
            status = response.status_code
        except HTTPException as error:
            status = error.status_code
            raise
        except ClientDisconnect:  # nobody is there to hear an answer; nginx's number for it
            status, response = 499, Response(status_code=499)
        finally:
            metrics.seconds.labels(str(status)).observe(time.perf_counter() - started)
        return response

    async def answer(request: Request) -> Response:
        nonlocal waiting
        knobs = _knobs(request)
        pictures = await _pictures(Request(request.scope, _counted(request.receive)))
        if waiting + len(pictures) > MAX_WAITING:
            detail = f"{waiting} pictures are waiting already; try again in a moment"
            raise Refusal(503, "busy", detail, {"Retry-After": "1"})
        waiting += len(pictures)
        try:
            return await caption_all(pictures, knobs)
        finally:
            waiting -= len(pictures)

    async def caption_all(pictures: list[tuple[str, bytes]], knobs: dict[str, Any]) -> Response:
        async def one(name: str, data: bytes) -> dict:
            try:
                picture = await anyio.to_thread.run_sync(images.canonical, data, MAX_PIXELS, limiter=decoding)
                found = await anyio.to_thread.run_sync(backend.caption, picture.data, knobs, limiter=asking)
            except (PictureError, UnsafeError) as error:
                metrics.pictures.labels(error.reason).inc()
                return {"name": name, "error": {"reason": error.reason, "detail": str(error)}}
            metrics.pictures.labels("captioned").inc()
            return {
                "name": name,
                "captions": [{"caption": c.text, "boxes": c.boxes, "score": round(c.score, 4)} for c in found],
            }

        try:
            # All of them end before the answer: none is left behind that nobody counts.
            ended = await asyncio.gather(*(one(name, data) for name, data in pictures), return_exceptions=True)
            for refused in (e for e in ended if isinstance(e, (ModelError, BusyError, BackendError))):
                raise refused
            unforeseen = [e for e in ended if isinstance(e, BaseException)]
            if unforeseen and len(unforeseen) == len(ended):
                raise unforeseen[0]
            for error in unforeseen:  # a fault of ours, and not the others' loss
                log.error("a picture failed", exc_info=error)
            results = [
                _FAILED | {"name": pictures[i][0]} if isinstance(e, BaseException) else e for i, e in enumerate(ended)
            ]
        except ModelError as error:
            raise Refusal(400, "bad_knob", str(error)) from error
        except BusyError as error:
            raise Refusal(503, "busy", str(error), {"Retry-After": "1"}) from error
        except BackendError as error:
            raise Refusal(503, "no_model", str(error), {"Retry-After": "5"}) from error
        done = any("captions" in result for result in results)
        return JSONResponse({"results": results}, 200 if done else 422)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        status = await anyio.to_thread.run_sync(backend.status)
        metrics.ready.set(status.ready)
        content = {"ready": status.ready, "version": status.version, "detail": status.detail}
        return JSONResponse(content, 200 if status.ready else 503)

    async def prometheus(request: Request) -> Response:
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette):
        await anyio.to_thread.run_sync(images.start, _DECODED_AT_ONCE)
        yield
        await anyio.to_thread.run_sync(backend.close)

    return Starlette(
        routes=[
            Route("/v1/captions", captions, methods=["POST"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", prometheus),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # what it is the handler of
    reason = error.reason if isinstance(error, Refusal) else "wrong_use"  # Starlette's own, such as of a wrong path
    return JSONResponse({"error": {"reason": reason, "detail": error.detail}}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """Starlette logs the error itself; clients hear no more than that there was one."""
    return JSONResponse(_FAILED, 500)


def _counted(receive):
    """`receive` that ends a request whose body grows beyond `MAX_BYTES`, whatever its header says."""
    total = 0

    async def counted():
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MAX_BYTES:
            raise _too_large()
        return message

    return counted


def _knobs(request: Request) -> dict[str, Any]:
    """Each within what `DecodingConfig` allows, whatever the model's own values of the others are."""
    knobs: dict[str, Any] = {}
    begins: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name == PREFIX:
            begins = {PREFIX: _prefix(value)}
            continue
        if name not in KNOBS:
            raise Refusal(400, "bad_knob", f"no such knob of decoding: {name}; known are {', '.join([*KNOBS, PREFIX])}")
        try:
            knobs[name] = int(value) if KNOBS[name].is_integer else float(value)
        except ValueError:
            kind = "a whole number" if KNOBS[name].is_integer else "a number"
            raise Refusal(400, "bad_knob", f"{name} takes {kind}, got {value!r}") from None
    try:
        DecodingConfig(**knobs)
    except ValidationError as error:
        # Whether knobs agree with each other is for the model to say, which knows its own values of the others.
        wrong = [e for e in error.errors() if e["loc"]]
        if wrong:
            detail = f"{wrong[0]['loc'][0]}: {in_our_words(wrong[0])}"
            raise Refusal(400, "bad_knob", detail) from None
    return knobs | begins


def _prefix(value: str) -> str:
    if len(value) > MAX_PREFIX:
        raise Refusal(400, "bad_knob", f"{PREFIX} has {len(value)} characters; at most {MAX_PREFIX} are taken")
    return value


async def _pictures(request: Request) -> list[tuple[str, bytes]]:
    """Names and bytes, whichever way they came."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BYTES:
        raise _too_large()
    # Values of these headers mean the same in capitals (RFC 9110, 8.3.1 and 8.4).
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal(415, "bad_encoding", f"a body in the content coding {coding!r} is not read; send it as it is")
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() == _FORM:
        written = [(b"content-type", f"{_FORM};{rest}".encode("latin-1"))]  # as Starlette compares it
        headers = [header for header in request.scope["headers"] if header[0].lower() != b"content-type"]
        request = Request({**request.scope, "headers": headers + written}, request.receive)
        try:
            async with request.form(max_files=MAX_PICTURES, max_fields=MAX_PICTURES) as form:
                uploads = [value for _, value in form.multi_items() if not isinstance(value, str)]
                pictures = [(upload.filename or "picture", await upload.read()) for upload in uploads]
        except HTTPException as error:
            if error.status_code == 400 and "Too many" in str(error.detail):
                raise Refusal(413, "too_many", f"a request may have {MAX_PICTURES} pictures") from None
            raise
    else:
        body = await request.body()
        pictures = [("picture", body)] if body else []
    if not pictures:
        raise Refusal(400, "no_picture", "expected a picture as the body, or pictures as multipart/form-data; got none")
    return pictures


def _too_large() -> Refusal:
    return Refusal(413, "too_large", f"a request may have {MAX_BYTES:,} bytes at most")
