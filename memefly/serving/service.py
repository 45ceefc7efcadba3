"""The HTTP interface. /openapi.json says all of it; `/` is a page.

    POST /v1/captions      pictures as multipart/form-data (any field, several of them) or one as the body itself; knobs
                           of decoding as query parameters (?beam=5&temperature=0.8&seed=7), and with ?prefix=one+does
                           what captions are to begin with
    POST /v1/memes         the same, and the captions written on the pictures: ?n=4&format=jpeg&size=600
    POST /v1/look          where the model looks as it says a caption: ?caption=a+cat
    POST /v1/render        words of one's own on a picture
    GET  /v1/templates     ?search=grumpy; below each KEY the same four (POST /v1/templates/KEY/memes), its picture, and
                           memes that are addressed by their words (GET /v1/templates/KEY/meme?text=ONE&text=TWO)
    GET  /v1/model         which model answers
    GET  /healthz          200 while the process answers
    GET  /readyz           200 while there is a model that answers, else 503
    GET  /metrics          Prometheus

    curl --data-binary @cat.jpg localhost:8000/v1/captions
    {"results": [{"name": "picture", "captions": [{"caption": "a cat\\non a mat", "boxes": ["a cat", "on a mat"],
                                                   "score": -0.41}]}],
     "model": {"name": "captioner", "version": 1700000000, "digest": "…"}}

Each picture is checked and, where TensorFlow does not read it as it is (WebP, CMYK, 16-bit, EXIF-rotated, animated),
written anew before it meets others in a batch. One that cannot be read has an `error` with a `reason` of
`memefly.images.REASONS` in the place of `captions`, one of whose captions none may be said `unsafe`; the others have
their captions.

Status: 200 at least one picture has captions; 422 none of them has; 400 wrong use; 401 no key; 404 no such template;
408 a body that does not come; 413 too many or too large; 415 a body in a content coding; 429 too often; 503 no model,
or too many pictures wait (both with Retry-After). Errors are {"error": {"reason": …, "detail": …}}.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import anyio
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from memefly import images
from memefly.errors import BackendError, BusyError, ModelError, PictureError, UnsafeError
from memefly.memes import parting, render
from memefly.memes.cache import MemeCache, key_of
from memefly.memes.render import Meme
from memefly.memes.template import BOXES, Box, Template, Templates
from memefly.safety import Safety
from memefly.serving import answers
from memefly.serving.admission import Admission
from memefly.serving.backends import Answer, Backend, Model, Status
from memefly.serving.front import FAILED, Front
from memefly.serving.inquiry import FORM, MEME, Asked, Refusal, pictures, to_write, why
from memefly.serving.settings import ServiceConfig

log = logging.getLogger("memefly.service")

PAGE = Path(__file__).parent / "app"
MAX_MEMES = 8  # of a picture
_AT_ONCE = 2  # pictures decoded, and memes rendered: a small file may hold many pixels
_STATUS = 1.0  # seconds for which what is known of the model is taken for granted
T = TypeVar("T")


class MemesAsked(Asked):
    n: int = Field(1, ge=1, le=MAX_MEMES, description="memes of each picture")
    size: int | None = Field(None, ge=render.SMALLEST, le=2048, description="pixels of the longer side")
    format: answers.Format | None = Field(None, description="by default the picture's own")
    mark: bool = Field(True, description="small print: a machine wrote the words")


@dataclass(frozen=True)
class _Ground:
    """A picture to say something of, as the model takes it and as memes are made on it."""

    name: str
    data: bytes
    boxes: tuple[Box, ...] = BOXES
    about: str = ""  # for alternative texts


class _Service:
    """What the paths share: a backend, limits, caches."""

    def __init__(self, backend: Backend, config: ServiceConfig, registry: CollectorRegistry):
        self.backend, self.config = backend, config
        self.templates = Templates.read(config.templates) if config.templates else Templates()
        self.cache = MemeCache(config.cache_megabytes)
        self.judge = Safety(config.safety).judge if config.safety.is_on else None
        self.pictures = Counter("memefly_pictures", "Pictures by what came of them", ["outcome"], registry=registry)
        self.memes = Counter(
            "memefly_memes", "Memes by whether they were kept from before", ["cached"], registry=registry
        )
        self.ready = Gauge("memefly_ready", "1 while there is a model that answers", registry=registry)
        self.captioning = Admission(config.waiting, config.patience)
        self.writing = Admission(config.waiting)
        waiting = Gauge("memefly_waiting", "Pictures that wait for the model or are with it", registry=registry)
        waiting.set_function(lambda: self.captioning.inside)
        # Of their own, so that pictures which wait take no thread from the probes.
        self.decoding, self.rendering = anyio.CapacityLimiter(_AT_ONCE), anyio.CapacityLimiter(_AT_ONCE)
        self.asking = anyio.CapacityLimiter(config.waiting)
        self._known: tuple[Status, float] | None = None
        self._last: Model | None = None

    def status(self) -> Status:
        """Of the backend, now."""
        status = self.backend.status()
        self.ready.set(status.ready)
        self._known, self._last = (status, time.monotonic() + _STATUS), status.model
        return status

    def known(self) -> Model | None:
        """Which model answered last, or was there when somebody looked."""
        return self._last

    async def samples(self) -> bool:
        if not self._known or self._known[1] < time.monotonic():
            await anyio.to_thread.run_sync(self.status)
        assert self._known
        return self._known[0].model.samples

    def template(self, key: str) -> Template:
        found = self.templates.by_key.get(key)
        if found is None:
            raise Refusal(404, "no_template", f"no template {key[:100]!r}; /v1/templates lists them")
        return found

    async def grounds(self, request: Request, template: str | None) -> list[_Ground]:
        """What is asked about: a template, or the pictures that come along."""
        self.captioning.check()  # before a body is read for nothing
        if template is None:
            with _stage(request, "read"):
                return [_Ground(name, data) for name, data in await pictures(request, self.config)]
        one = self.template(template)
        return [_Ground(one.key, await self.picture_of(one), one.boxes, one.name)]

    async def picture_of(self, template: Template) -> bytes:
        return await anyio.to_thread.run_sync(
            images.read_file, template.picture, self.config.pixels, limiter=self.decoding
        )

    async def ask(self, request: Request, ground: _Ground, knobs: dict[str, Any]) -> Answer:
        answer = await self.said(request, ground.data, lambda data: self.backend.caption(data, knobs), tells=True)
        request.scope["state"]["model"] = self._last = answer.model
        return answer

    async def said(self, request: Request, data: bytes, ask: Callable[[bytes], T], tells: bool = False) -> T:
        """What the model says of a picture. One that it does not read as it should is written anew: it `tells`, or
        TensorFlow is asked first where it is at hand."""
        picture = await self.plain(request, data, ask_graph=not tells)
        request.scope["state"]["place"].asked += 1
        try:
            with _stage(request, "model"):
                return await anyio.to_thread.run_sync(ask, picture.data, limiter=self.asking)
        except PictureError:
            if not picture.plain:
                raise
        picture = await self.plain(request, data, as_it_is=False)
        with _stage(request, "model"):
            return await anyio.to_thread.run_sync(ask, picture.data, limiter=self.asking)

    async def plain(self, request: Request, data: bytes, **how: bool) -> images.Picture:
        make = functools.partial(images.canonical, data, self.config.pixels, **how)
        with _stage(request, "decode"):
            return await anyio.to_thread.run_sync(make, limiter=self.decoding)

    async def written(
        self, request: Request, data: bytes, texts: Sequence[str], boxes: Sequence[Box], about: str = "", **how: Any
    ) -> tuple[str, Meme]:
        """A meme and its key, made now or before. Raises `UnsafeError` for words that are not to be written."""
        if self.judge and await anyio.to_thread.run_sync(self.judge, "\n".join(texts)) is not None:
            raise UnsafeError
        key = key_of(data, texts, boxes, name=about, **how)
        meme = self.cache.get(key)
        self.memes.labels("yes" if meme else "no").inc()
        if meme is None:
            make = functools.partial(
                render.render, data, texts, boxes, name=about, max_pixels=self.config.pixels, seconds=10, **how
            )
            with _stage(request, "render"):
                meme = self.cache.put(key, await anyio.to_thread.run_sync(make, limiter=self.rendering))
        return key, meme

    async def each(
        self, request: Request, grounds: list[_Ground], one: Callable[[_Ground], Awaitable[T]]
    ) -> tuple[list[T | answers.Failed], int]:
        """Of every picture what came of it, and the status of it all."""

        async def safely(ground: _Ground) -> T | answers.Failed:
            try:
                found = await one(ground)
            except (PictureError, UnsafeError) as error:
                self.pictures.labels(error.reason).inc()
                return _failed(ground.name, error.reason, str(error))
            self.pictures.labels("captioned").inc()
            return found

        with self.captioning.place(len(grounds)) as place:
            request.scope["state"]["place"] = place
            # All of them end before the answer: none is left behind that nobody counts.
            ended = await asyncio.gather(*map(safely, grounds), return_exceptions=True)
            place.answered = sum(not isinstance(one, (BaseException, answers.Failed)) for one in ended)
        for refused in (e for e in ended if isinstance(e, (ModelError, BusyError, BackendError))):
            raise _refusal(refused) from refused
        unforeseen = [e for e in ended if isinstance(e, BaseException)]
        if unforeseen and len(unforeseen) == len(ended):
            raise unforeseen[0]
        for error in unforeseen:  # a fault of ours, and not the others' loss
            log.error("a picture failed", exc_info=error)
        results = [
            _failed(grounds[i].name, *FAILED) if isinstance(e, BaseException) else e for i, e in enumerate(ended)
        ]
        return results, 422 if all(isinstance(result, answers.Failed) for result in results) else 200

    async def seeded(self, knobs: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        """What is drawn hangs on a seed, which is told."""
        if not (knobs.get("temperature") or ("temperature" not in knobs and await self.samples())):
            return knobs, None
        seed = knobs.get("seed", secrets.randbelow(2**31))
        return {**knobs, "seed": seed}, seed


def create_app(backend: Backend, config: ServiceConfig | None = None) -> FastAPI:
    """The service over a backend, which is closed with it. Raises `DataError` where `config.templates` cannot be
    read."""
    config = config or ServiceConfig()
    registry = CollectorRegistry()
    service = _Service(backend, config, registry)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        await anyio.to_thread.run_sync(images.start, _AT_ONCE)
        await anyio.to_thread.run_sync(render.start, _AT_ONCE)
        with contextlib.suppress(Exception):  # what is wrong with the model /readyz tells
            await anyio.to_thread.run_sync(service.status)
        yield
        await anyio.to_thread.run_sync(backend.close)

    app = FastAPI(
        title="memefly", version="1", description=_DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None,
        separate_input_output_schemas=False, telemetry=_NO_TELEMETRY,
    )  # fmt: skip
    _add_captions(app, service)
    _add_words(app, service)
    _add_templates(app, service)
    _add_probes(app, service, registry)
    app.mount("/app", StaticFiles(directory=PAGE), name="app")
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(ClientDisconnect, _gone)
    if config.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(config.origins), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Api-Key", "X-Request-Id"],
            expose_headers=["X-Request-Id", "X-Model-Version", "X-Model-Digest", "X-Memefly-Alt", "Retry-After"],
        )  # fmt: skip
    app.add_middleware(Front, config=config, registry=registry, model=service.known)
    return app


# --- what a model says ------------------------------------------------------------------------------------------------


def _add_captions(app: FastAPI, service: _Service) -> None:
    of_pictures, of_template = _documented(422, body=_PICTURES), _documented(404, 422)

    async def captions_of(request: Request, asked: Asked, template: str | None) -> Response:
        knobs = asked.knobs(service.config)

        async def one(ground: _Ground) -> answers.Captioned:
            answer = await service.ask(request, ground, knobs)
            return answers.Captioned(
                name=ground.name,
                captions=[
                    answers.OneCaption(caption=c.text, boxes=c.boxes, score=round(c.score, 4)) for c in answer.captions
                ],
            )

        results, status = await service.each(request, await service.grounds(request, template), one)
        return _json(answers.Captions(results=results, model=_model(request)), status)

    async def memes_of(request: Request, asked: MemesAsked, template: str | None) -> Response:
        knobs = asked.knobs(service.config)
        if asked.n > 1:
            knobs["beam"] = max(asked.n, knobs.get("beam", 1))
        grounds = await service.grounds(request, template)
        knobs, seed = await service.seeded(knobs)
        how = {"format": asked.format, "size": asked.size, "mark": asked.mark}

        async def one(ground: _Ground) -> answers.Made:
            answer = await service.ask(request, ground, knobs)
            made = []
            for caption in answer.captions[: asked.n]:
                texts = parting.part_after(asked.prefix or "", caption.text, len(ground.boxes))
                with contextlib.suppress(UnsafeError):
                    _, meme = await service.written(request, ground.data, texts, ground.boxes, ground.about, **how)
                    made.append(_of_meme(caption.text, caption.score, meme))
            if not made:
                raise UnsafeError
            return answers.Made(name=ground.name, boxes=list(ground.boxes), memes=made)

        results, status = await service.each(request, grounds, one)
        return _json(answers.Memes(results=results, model=_model(request), seed=seed), status)

    async def look_at(request: Request, caption: str, template: str | None) -> Response:
        grounds = await service.grounds(request, template)
        if len(grounds) > 1:
            raise Refusal(400, "bad_request", f"expected one picture, got {len(grounds)}")

        async def one(ground: _Ground):
            return await service.said(request, ground.data, lambda data: service.backend.look(data, caption))

        (found,), status = await service.each(request, grounds, one)
        if isinstance(found, answers.Failed):
            raise Refusal(status, found.error.reason, found.error.detail)
        words = [
            answers.Word(word=word, weights=[[round(float(x), 5) for x in row] for row in weights])
            for word, weights in zip(found.words, found.weights)
        ]
        return _json(answers.Looked(words=words, model=_model(request)), 200)

    @app.post("/v1/captions", response_model=answers.Captions, **of_pictures)
    async def captions(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        """Captions of pictures."""
        return await captions_of(request, asked, None)

    @app.post("/v1/templates/{key}/captions", response_model=answers.Captions, **of_template)
    async def captions_of_template(request: Request, key: str, asked: Annotated[Asked, Query()]) -> Response:
        """Captions of a template."""
        return await captions_of(request, asked, key)

    @app.post("/v1/memes", response_model=answers.Memes, **of_pictures)
    async def memes(request: Request, asked: Annotated[MemesAsked, Query()]) -> Response:
        """Memes of pictures: captions, and pictures that they are written on."""
        return await memes_of(request, asked, None)

    @app.post("/v1/templates/{key}/memes", response_model=answers.Memes, **of_template)
    async def memes_of_template(request: Request, key: str, asked: Annotated[MemesAsked, Query()]) -> Response:
        """Memes of a template, with words of the model."""
        return await memes_of(request, asked, key)

    @app.post("/v1/look", response_model=answers.Looked, **_documented(422, body=_PICTURE))
    async def look(request: Request, caption: Annotated[str, Query(min_length=1, max_length=1000)]) -> Response:
        """Where the model looks as it says a caption of one picture."""
        return await look_at(request, caption, None)

    @app.post("/v1/templates/{key}/look", response_model=answers.Looked, **of_template)
    async def look_at_template(
        request: Request, key: str, caption: Annotated[str, Query(min_length=1, max_length=1000)]
    ) -> Response:
        """Where the model looks as it says a caption of a template."""
        return await look_at(request, caption, key)

    @app.get("/v1/model", response_model=answers.Serving, **_documented())
    async def model() -> Response:
        """Which model answers."""
        status = await anyio.to_thread.run_sync(service.status)
        about = answers.TheModel.of(status.model)
        said = answers.Serving(model=about, samples=status.model.samples, ready=status.ready, detail=status.detail)
        return _json(said, 200)


def _of_meme(caption: str, score: float, meme: Meme) -> answers.OneMeme:
    return answers.OneMeme(
        caption=caption, score=round(score, 4), texts=[answers.OneText.of(one) for one in meme.written], alt=meme.alt,
        media_type=meme.media_type, width=meme.width, height=meme.height, image=base64.b64encode(meme.data).decode(),
    )  # fmt: skip


# --- words of one's own -----------------------------------------------------------------------------------------------


def _add_words(app: FastAPI, service: _Service) -> None:
    @app.post("/v1/render", response_class=Response, **_documented(415, 422, body=_WORDS, image=True))
    async def write(request: Request) -> Response:
        """Words of one's own on a picture."""
        with _stage(request, "read"):
            wanted, data = await to_write(request, service.config)
        return await written_on(request, wanted, data, BOXES, "")

    @app.post("/v1/templates/{key}/render", response_class=Response, **_documented(404, 413, 422, image=True))
    async def write_on_template(request: Request, key: str, wanted: answers.ToWrite) -> Response:
        """Words of one's own on a template."""
        one = service.template(key)
        return await written_on(request, wanted, await service.picture_of(one), one.boxes, one.name)

    async def written_on(
        request: Request, wanted: answers.ToWrite, data: bytes, boxes: tuple[Box, ...], about: str
    ) -> Response:
        how = {"format": wanted.format, "size": wanted.size, "mark": wanted.mark}
        return await _meme(request, service, data, wanted.texts, tuple(wanted.boxes or boxes), about, how)


async def _meme(
    request: Request,
    service: _Service,
    data: bytes,
    texts: Sequence[str],
    boxes: tuple[Box, ...],
    about: str,
    how: dict[str, Any],
    cached: str = "no-store",
) -> Response:
    """As a picture. Whose words it is of are in its address or in the request, so it may be kept by who asked."""
    request.scope["state"]["words"] = list(texts)
    if len(texts) > len(boxes):
        raise Refusal(422, "too_many_texts", f"{len(texts)} texts for {len(boxes)} text boxes")
    with service.writing.place(1):
        try:
            key, meme = await service.written(request, data, texts, boxes, about, **how)
        except (PictureError, UnsafeError) as error:
            raise Refusal(422, error.reason, str(error)) from None
    tag = f'"{key[:32]}"'
    headers = {"ETag": tag, "Cache-Control": cached, "X-Memefly-Alt": quote(meme.alt)}
    if tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(meme.data, media_type=meme.media_type, headers=headers)


# --- templates --------------------------------------------------------------------------------------------------------


def _add_templates(app: FastAPI, service: _Service) -> None:
    @app.get("/v1/templates", response_model=answers.Templates, **_documented())
    async def templates(
        search: Annotated[str, Query(max_length=200)] = "",
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
    ) -> Response:
        """Those that words find: each word begins one of theirs."""
        found = service.templates.search(search)
        page = [answers.OneTemplate.of(one) for one in found[offset : offset + limit]]
        return _json(answers.Templates(templates=page, total=len(found)), 200)

    @app.get("/v1/templates/{key}", response_model=answers.OneTemplate, **_documented(404))
    async def template(key: str) -> Response:
        return _json(answers.OneTemplate.of(service.template(key)), 200)

    @app.get("/v1/templates/{key}/picture", response_class=Response, **_documented(404, image=True))
    async def picture(
        request: Request, key: str, size: Annotated[int, Query(ge=render.SMALLEST, le=2048)] = 320
    ) -> Response:
        """Without words."""
        one = service.template(key)
        how = {"format": "webp", "size": size}
        return await _meme(
            request, service, await service.picture_of(one), [], one.boxes, "", how, "public, max-age=3600"
        )

    @app.get("/v1/templates/{key}/meme", response_class=Response, **_documented(404, 422, image=True))
    async def meme(
        request: Request,
        key: str,
        text: Annotated[list[answers.Text], Query(max_length=20)] = [],  # noqa: B006 - FastAPI copies it
        size: Annotated[int, Query(ge=render.SMALLEST, le=2048)] = 600,
        format: Annotated[answers.Format, Query()] = "jpeg",
    ) -> Response:
        """A meme that is addressed by its words: ?text=ONE&text=TWO."""
        one = service.template(key)
        how = {"format": format, "size": size, "mark": False}
        data = await service.picture_of(one)
        return await _meme(request, service, data, text, one.boxes, one.name, how, "public, max-age=86400")


# --- probes -----------------------------------------------------------------------------------------------------------


def _add_probes(app: FastAPI, service: _Service, registry: CollectorRegistry) -> None:
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    @app.get("/healthz", response_class=PlainTextResponse, responses={200: text})
    async def healthz() -> Response:
        """200 while the process answers."""
        return PlainTextResponse("ok\n")

    @app.get("/readyz", response_model=answers.Ready, responses={503: {"model": answers.Ready}})
    async def readyz() -> Response:
        """200 while there is a model that answers."""
        status = await anyio.to_thread.run_sync(service.status)
        said = answers.Ready(ready=status.ready, version=status.model.version, detail=status.detail)
        return _json(said, 200 if status.ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse, responses={200: text})
    async def metrics() -> Response:
        """For Prometheus."""
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")


# --- answers ----------------------------------------------------------------------------------------------------------

# FastAPI would send traces wherever OpenTelemetry's environment variables say.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
_DESCRIPTION = (
    "Captions and memes of pictures. Errors are {error: {reason, detail}}. Every answer names the model in its headers "
    "X-Model-Name, X-Model-Version and X-Model-Digest, and itself in X-Request-Id."
)
_BINARY = {"type": "string", "format": "binary"}
_IMAGES = ("image/jpeg", "image/png", "image/webp", "image/gif")
_PICTURES: dict[str, Any] = {
    "description": "One picture, or several as files of a form, whatever its fields are called.",
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": ["picture"],
                "properties": {"picture": {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": 16}},
            }
        },
        **{kind: {"schema": _BINARY} for kind in _IMAGES},
    },
}
_PICTURE: dict[str, Any] = {
    "required": True,
    "content": {
        FORM: {"schema": {"type": "object", "required": ["picture"], "properties": {"picture": _BINARY}}},
        **{kind: {"schema": _BINARY} for kind in _IMAGES},
    },
}
_WORDS: dict[str, Any] = {
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object", "required": ["picture", MEME],
                "properties": {
                    "picture": _BINARY,
                    MEME: {"type": "string", "contentMediaType": "application/json", "format": MEME,
                           "contentSchema": {"$ref": "#/components/schemas/ToWrite"}},
                },
            },
            "encoding": {"picture": {"contentType": ", ".join(_IMAGES)}},
        }
    },
}  # fmt: skip
_TOLD = {
    400: "wrong use", 401: "no API key, where keys are wanted", 404: "no such template", 408: "the body did not come",
    413: "too many pictures, or too large", 415: "a body in a content coding, or of another type",
    422: "a picture that cannot be read, or words that are not said", 429: "too often: Retry-After says when",
    500: "a fault of the server", 503: "no model, or too many pictures wait: Retry-After",
}  # fmt: skip


def _documented(*statuses: int, body: dict[str, Any] | None = None, image: bool = False) -> dict[str, Any]:
    """What a path answers with, beside its own: errors that any has, and `statuses`."""
    own = (400, 401, 429, 500, 503) + ((408, 413, 415) if body else ())
    responses: dict[int | str, Any] = {
        status: {"description": _TOLD[status], "model": answers.Error} for status in sorted({*own, *statuses})
    }
    if image:
        responses[200] = {"description": "the picture", "content": {kind: {"schema": _BINARY} for kind in _IMAGES}}
        responses[304] = {"description": "as it was when it was asked for last (If-None-Match)"}
    elif 422 in statuses:
        responses[422]["description"] += ": as 200, where no picture of several has an answer"
        responses[422].pop("model")
    return {"responses": responses, "openapi_extra": {"requestBody": body} if body else None}


def _model(request: Request) -> answers.TheModel | None:
    model = request.scope["state"].get("model")
    return answers.TheModel.of(model) if model else None


def _json(said: Any, status: int) -> Response:
    return Response(said.model_dump_json(), status, media_type="application/json")


def _failed(name: str, reason: str, detail: str) -> answers.Failed:
    return answers.Failed(name=name, error=answers.PictureError(reason=reason, detail=detail))


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, ModelError):
        return Refusal(400, "bad_knob", str(error))
    if isinstance(error, BusyError):
        return Refusal(503, "busy", str(error), {"Retry-After": "1"})
    return Refusal(503, "no_model", str(error), {"Retry-After": "5"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # what it is the handler of
    reason = error.reason if isinstance(error, Refusal) else "wrong_use"  # Starlette's own, such as of a wrong path
    return JSONResponse({"error": {"reason": reason, "detail": error.detail}}, error.status_code, error.headers)


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _refused(request, why(list(error.errors())))


async def _busy(request: Request, error: Exception) -> Response:
    return await _refused(request, _refusal(error))


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody is there to hear an answer; nginx's number for it."""
    return Response(status_code=499)


@contextlib.contextmanager
def _stage(request: Request, name: str):
    """Adds to what the log says of a request's time."""
    began = time.perf_counter()
    try:
        yield
    finally:
        stages = request.scope["state"]["stages"]
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - began
