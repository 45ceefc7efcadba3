"""What a request asks for, read: pictures, knobs of decoding, words.

What a request can cost is bounded here: its bytes, while they arrive, and how long they take; its pictures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive

from memefly.decoding_config import KINDS, PREFIX, DecodingConfig
from memefly.errors import in_our_words
from memefly.serving.answers import ToWrite
from memefly.serving.settings import ServiceConfig

FORM = "multipart/form-data"
MEME = "meme"  # the field of a form that holds `ToWrite`


class Refusal(HTTPException):
    """An answer that is an error: its status, and what its `reason` and `detail` are to be."""

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, detail, headers)
        self.reason = reason


def _knobs() -> type[BaseModel]:
    """Each as `DecodingConfig` has it, or left out: the model's own value then."""
    fields: dict[str, Any] = {}
    for name, kind in KINDS.items():
        own = DecodingConfig.model_fields[name]
        field: Any = Field(None, description=own.description)
        field.metadata = list(own.metadata)  # its bounds
        fields[name] = (kind | None, field)
    return create_model("Knobs", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


class Asked(_knobs()):  # type: ignore[misc]
    """Query parameters of what asks a model."""

    prefix: str | None = Field(None, description="what captions are to begin with; a line break ends a text box")

    def knobs(self, config: ServiceConfig) -> dict[str, Any]:
        """What differs from the model's own. Raises `Refusal`."""
        if self.prefix is not None and len(self.prefix) > config.prefix:
            raise Refusal(
                400, "bad_knob", f"{PREFIX} has {len(self.prefix)} characters; at most {config.prefix} are taken"
            )
        given = {name: getattr(self, name) for name in KINDS if getattr(self, name) is not None}
        return given | ({} if self.prefix is None else {PREFIX: self.prefix})


def why(errors: list[Any]) -> Refusal:
    """Of what pydantic found wrong with a request."""
    first = errors[0]
    where, *names = map(str, first["loc"])
    name = ".".join(names) or where
    if where == "query" and first["type"] == "extra_forbidden":
        told = f"no such knob of decoding, nor another parameter: {name}; known are {', '.join([*KINDS, PREFIX])}"
        return Refusal(400, "bad_knob", told)
    got = first.get("input")
    came = f", got {got!r}"[:120] if isinstance(got, (str, int, float)) else ""
    return Refusal(400, "bad_knob" if where == "query" else "bad_request", f"{name}: {in_our_words(first)}{came}")


async def pictures(request: Request, config: ServiceConfig) -> list[tuple[str, bytes]]:
    """Names and bytes, whichever way they came. Raises `Refusal` where there are none."""
    # Values of these headers mean the same in capitals (RFC 9110, 8.3.1 and 8.4).
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() == FORM:
        found, _ = await _of_form(request, parameters, config)
    else:
        _check_coding(request)
        body = await request.body()
        found = [("picture", body)] if body else []
    if not found:
        raise Refusal(400, "no_picture", "expected a picture as the body, or pictures as multipart/form-data; got none")
    return found


async def to_write(request: Request, config: ServiceConfig) -> tuple[ToWrite, bytes]:
    """Words, and the picture they are for: a form of a file and the field `meme`, which is JSON. Raises `Refusal`."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != FORM:
        raise Refusal(415, "bad_type", f"expected {FORM}, got {kind.strip() or 'no content type'}")
    found, fields = await _of_form(request, parameters, config)
    if len(found) != 1:
        raise Refusal(400, "no_picture", f"expected one picture, got {len(found)}")
    try:
        return ToWrite.model_validate_json(fields.get(MEME, "")), found[0][1]
    except ValidationError as error:
        told = why([{**e, "loc": (MEME, *e["loc"])} for e in error.errors()])
        raise Refusal(422, told.reason, told.detail) from None  # to a form, it is a text like any


def _check_coding(request: Request) -> None:
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal(415, "bad_encoding", f"a body in the content coding {coding!r} is not read; send it as it is")


async def _of_form(
    request: Request, parameters: str, config: ServiceConfig
) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """Files, and fields."""
    _check_coding(request)
    written = [(b"content-type", f"{FORM};{parameters}".encode("latin-1"))]  # as Starlette compares it
    headers = [header for header in request.scope["headers"] if header[0].lower() != b"content-type"]
    request = Request({**request.scope, "headers": headers + written}, request.receive)
    try:
        async with request.form(max_files=config.pictures, max_fields=config.pictures) as form:
            uploads = [value for _, value in form.multi_items() if not isinstance(value, str)]
            fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
            return [(upload.filename or "picture", await upload.read()) for upload in uploads], fields
    except HTTPException as error:
        if error.status_code == 400 and "Too many" in str(error.detail):
            raise Refusal(413, "too_many", f"a request may have {config.pictures} pictures") from None
        raise


def bounded(receive: Receive, headers: Mapping[bytes, str], config: ServiceConfig) -> Receive:
    """`receive` that ends a request whose body grows beyond so many bytes, whatever its header says, or is not there in
    time. What it raises is a `Refusal`."""
    most, until = config.megabytes << 20, time.monotonic() + config.seconds
    total, whole = 0, False

    async def counted() -> MutableMapping[str, Any]:
        nonlocal total, whole
        if whole:
            return await receive()
        declared = headers.get(b"content-length", "")
        try:
            with anyio.fail_after(max(0.0, until - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise Refusal(408, "too_slow", f"the body was not there within {config.seconds:g} seconds") from None
        total += len(message.get("body", b""))
        if total > most or (declared.isdecimal() and int(declared) > most):
            raise Refusal(413, "too_large", f"a request may have {most:,} bytes at most")
        whole = not message.get("more_body", False)
        return message

    return counted
