"""Commands of serving: `promote` and `rollback` say which version is live, `serve` answers over HTTP."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from memefly import textfile
from memefly.commands.parser import Command, add_root, address, not_negative, port, positive, server
from memefly.errors import MemeflyError, UsageError, in_our_words
from memefly.exported.manifest import newest_version
from memefly.quiet import import_tensorflow

log = logging.getLogger("memefly.promotion")

if TYPE_CHECKING:
    from memefly.serving.backends import Backend
    from memefly.serving.settings import ServiceConfig


def add(command: Command) -> None:
    add_promote(command)
    add_rollback(command)
    add_serve(command)


def add_promote(command: Command) -> None:
    promote = command(
        "promote",
        _promote,
        "put a label of TensorFlow Serving on a pushed version",
        "  memefly promote --root root --version latest --to canary --why 'first of the new data'\n"
        "  memefly promote --root root --version 1700000000 --to stable",
    )
    promote.add_argument("--version", required=True, metavar="V", help="a folder of ROOT/serving/captioner, or latest")
    promote.add_argument("--to", required=True, metavar="LABEL", help="canary | stable")
    promote.add_argument(
        "--base-path", metavar="DIR", help="where the server finds the folder of versions (at first: /models/captioner)"
    )
    _add_move(promote)


def _promote(arguments) -> int:
    from memefly.serving import promotion

    move = promotion.promote(
        arguments.root,
        arguments.version,
        arguments.to,
        arguments.why,
        base_path=arguments.base_path,
        wait=_until_loaded(arguments.server),
    )
    return _moved(arguments, move)


def add_rollback(command: Command) -> None:
    rollback = command(
        "rollback",
        _rollback,
        "put a label back on the version it was on before",
        "  memefly rollback --root root\n  memefly rollback --root root --label canary --why 'worse on dogs'",
    )
    rollback.add_argument("--label", default="stable", metavar="LABEL", help="canary | stable (stable)")
    _add_move(rollback)


def _rollback(arguments) -> int:
    from memefly.serving import promotion

    return _moved(
        arguments,
        promotion.rollback(arguments.root, arguments.label, arguments.why, wait=_until_loaded(arguments.server)),
    )


def _add_move(parser: argparse.ArgumentParser) -> None:
    """What both moves of a label take."""
    add_root(parser)
    parser.add_argument(
        "--server",
        type=address,
        metavar="HOST:PORT",
        help="TensorFlow Serving's gRPC: waits until it has loaded the version",
    )
    parser.add_argument("--why", default="", metavar="TEXT", help="goes into the history")
    parser.add_argument("--json", action="store_true", help="the move as one JSON object")


def _until_loaded(server: str | None):
    """What `promote` does between the two configurations; see there."""
    from memefly.serving import promotion

    if server:
        return promotion.until_available(server)

    def wait(version: int) -> None:
        print(
            f"memefly: {promotion.CONFIG} names version {version} now; waits {promotion.SETTLE:.0f} s for a server to "
            "load it before the label moves (--server HOST:PORT asks the server instead)",
            file=sys.stderr,
        )
        time.sleep(promotion.SETTLE)

    return wait


def _moved(arguments, move) -> int:
    from memefly.serving import promotion
    from memefly.tracking import sync

    try:
        sync.say(arguments.root)
    except MemeflyError as error:  # the label has moved; what W&B is to know of it waits
        log.warning("W&B has not been told of it (%s); `memefly wandb-sync` tells it later", error)
    if arguments.json:
        print(textfile.to_json(dataclasses.asdict(move)))
    else:
        print(f"{move.label}: {move.before or 'no version'} -> {move.version}")
        stand = ", ".join(f"{label} {version}" for label, version in sorted(promotion.labels(arguments.root).items()))
        print(f"{arguments.root / 'serving' / promotion.CONFIG}: {stand}")
    return 0


def add_serve(command: Command) -> None:
    serve = command(
        "serve",
        _serve,
        "a page and an HTTP interface for captions and memes",
        "  memefly serve --model root/serving/captioner --templates templates\n"
        "  memefly serve --tf-serving localhost:8500 --label stable --host 0.0.0.0 --port 8000",
    )
    source = serve.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a version, or the folder of versions, whose newest answers: in this process",
    )
    source.add_argument(
        "--tf-serving", type=server, metavar="HOST:PORT", help="TensorFlow Serving: gRPC, or http://HOST:PORT for REST"
    )
    serve.add_argument(
        "--label", metavar="LABEL", help="of TensorFlow Serving's version: stable | canary (the highest)"
    )
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="address to listen on (127.0.0.1: this machine)"
    )
    serve.add_argument("--port", type=port, default=8000, metavar="P", help="(8000)")
    serve.add_argument(
        "--largest-batch", type=positive, metavar="B", help="pictures through the model at once (as it was warmed for)"
    )
    serve.add_argument(
        "--callers", type=positive, metavar="N", help="calls of the model at the same time (as many as it takes well)"
    )
    serve.add_argument(
        "--models", type=Path, metavar="DIR", help="beside --tf-serving, ROOT/serving: what its models are"
    )
    serve.add_argument(
        "--templates", type=Path, metavar="DIR", help="a folder of templates (*.yaml), or a data set of memes"
    )
    serve.add_argument(
        "--rate", default="300/minute", metavar="R", help="requests of a client, else 429; 0: any number (300/minute)"
    )
    serve.add_argument("--at-once", type=positive, default=16, metavar="N", help="requests of a client at a time (16)")
    serve.add_argument(
        "--waiting",
        type=positive,
        default=64,
        metavar="N",
        help="pictures at most that wait for the model, else 503 (64)",
    )
    serve.add_argument(
        "--patience",
        type=not_negative,
        default=2.0,
        metavar="X",
        help="times what a picture takes alone that one may wait for its turn, else 503; 0: any time (2)",
    )
    serve.add_argument(
        "--origin", action="append", default=[], metavar="URL", help="whose pages may call it too (nobody's)"
    )
    serve.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="keys, one a line, that callers need; MEMEFLY_API_KEYS=A,B as well",
    )
    serve.add_argument("--log-words", action="store_true", help="words come into the log too")


def _serve(arguments) -> int:
    if arguments.model and arguments.label:
        raise UsageError("--label is for --tf-serving: a model in this process has none; give the version's folder")
    if arguments.tf_serving and arguments.largest_batch:
        raise UsageError("--largest-batch is for --model: TensorFlow Serving batches as its own settings say")
    if arguments.tf_serving and arguments.callers:
        raise UsageError("--callers is for --model: TensorFlow Serving has threads of its own")
    if arguments.model and arguments.models:
        raise UsageError("--models is for --tf-serving: a model in this process says itself what it is")
    if arguments.api_keys and not arguments.api_keys.is_file():
        raise UsageError(f"--api-keys: no file {arguments.api_keys}; expected one with a key a line")
    config = _config(arguments)
    with _listening(arguments.host, arguments.port) as listener:  # before a model is loaded for nothing
        return _serve_on(listener, arguments, config)


def _config(arguments) -> ServiceConfig:
    from pydantic import ValidationError

    from memefly.serving.settings import ServiceConfig

    try:
        return ServiceConfig(
            rate=None if arguments.rate in ("0", "none") else arguments.rate, at_once=arguments.at_once,
            waiting=arguments.waiting, patience=arguments.patience or None, origins=tuple(arguments.origin),
            keys=arguments.api_keys, templates=arguments.templates, log_words=arguments.log_words,
        )  # fmt: skip
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"--{problem['loc'][0]}: {in_our_words(problem)}") from None


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there. Raises `UsageError` where none can."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: {getattr(error, 'strerror', None) or error}") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen(2048)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; take another --host or --port"
            ) from None
        yield listener


def _serve_on(listener: socket.socket, arguments, config: ServiceConfig) -> int:
    if arguments.model:
        newest_version(arguments.model)  # says what is wrong before TensorFlow is loaded
        import_tensorflow()
    import uvicorn

    from memefly.serving.service import create_app

    if arguments.model:
        from memefly.exported.warmup import LARGEST_BATCH
        from memefly.serving.local_model import LocalModel

        print(f"memefly: loads {arguments.model}", file=sys.stderr)
        largest = arguments.largest_batch or LARGEST_BATCH
        backend: Backend = LocalModel(arguments.model, largest, callers=arguments.callers)
    else:
        from memefly.serving.tf_serving import TensorFlowServing

        backend = TensorFlowServing(arguments.tf_serving, arguments.label, models=arguments.models)
    host, port = listener.getsockname()[:2]
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    app = create_app(backend, config)
    print(f"memefly: {backend.status().detail}; http://{at}/", file=sys.stderr)
    _log_to(sys.stdout)
    # Who stops it waits for what it has accepted, half a minute at most.
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=30, server_header=False
    )
    server = uvicorn.Server(settings)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _log_to(stream: TextIO) -> None:
    """A line of JSON a request, and what the service has to say, which is for people, beside them."""
    requests = logging.getLogger("memefly.requests")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    requests.addHandler(handler)
    requests.setLevel(logging.INFO)
    requests.propagate = False
    logging.getLogger("memefly.service").setLevel(logging.INFO)
