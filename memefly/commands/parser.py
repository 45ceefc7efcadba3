"""What all commands share: the parser, kinds of values, exit statuses.

    >>> main(["sample", "data/sample"], families=[data.add])

A family is a function that is handed `command` and declares with it each of its commands, arguments and all. A command
imports what it needs when it runs: `memefly --help` loads no TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from memefly import __version__, storage, temporary
from memefly.errors import MemeflyError, StorageError, refused
from memefly.storage import Place

Command = Callable[..., argparse.ArgumentParser]  # (name, function, help, examples) -> its own parser

EXIT = """\
exit status: 0 done (for run: and blessed); 1 failed; 2 wrong use or bad input;
3 ran to the end, but the gate said no and nothing was pushed
"""


def main(argv: Sequence[str] | None, families: Sequence[Callable[[Command], None]]) -> int:
    """Runs the command that `argv` names and returns its exit status."""
    arguments = build(families).parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    temporary.settle()
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")  # about Python 3.10
    try:
        with _warnings_told():
            status = arguments.command(arguments)
            sys.stdout.flush()
            return status
    except MemeflyError as error:
        print(f"memefly: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # of who reads what is said, and has enough: `memefly runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still holds back
        return 128 + signal.SIGPIPE
    except OSError as error:
        if (ours := refused(error)) is None:
            raise
        print(f"memefly: {ours}", file=sys.stderr)
        return ours.exit_code
    except KeyboardInterrupt:
        print("memefly: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"memefly: {record.getMessage()}", file=sys.stderr)


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """What our own loggers warn of goes to standard error, as one line each."""
    handler = _Teller(logging.WARNING)
    ours = logging.getLogger("memefly")
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)


def build(families: Sequence[Callable[[Command], None]]) -> argparse.ArgumentParser:
    """The parser with the commands of `families`, in their order."""
    parser = argparse.ArgumentParser(
        prog="memefly",
        description="Learns to write captions for pictures, memes above all, and ships a model that has earned it.",
        epilog=EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"memefly {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function, help: str, examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=function)
        return sub

    for add in families:
        add(command)
    return parser


def positive(value: str) -> int:
    """Of an argument that is a whole number from 1."""
    if not value.isdecimal() or len(value) > 18 or int(value) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {value!r}")
    return int(value)


def not_negative(value: str) -> float:
    """Of an argument that is a number from 0."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {value!r}")
    return number


def share(value: str) -> float:
    """Of an argument that is a share, from 0 to 1."""
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a share, from 0 to 1, got {value!r}")
    return number


def port(value: str) -> int:
    """Of an argument that is a port to listen on."""
    if not value.isdecimal() or len(value) > 18 or not 0 <= int(value) <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535 (0: any that is free), got {value!r}")
    return int(value)


def address(value: str) -> str:
    """Of an argument that is HOST:PORT, or one of gRPC's other names (unix:, dns:, ipv4:, ipv6:)."""
    name = value.removeprefix("grpc://")
    if name.startswith(("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:")):
        return name
    host, colon, number = name.rpartition(":")
    if not (host and colon and number.isdecimal() and len(number) < 6 and 0 < int(number) <= 65535) or "/" in host:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, such as localhost:8500, got {value!r}")
    return name


def server(value: str) -> str:
    """Of an argument that is TensorFlow Serving's address: of gRPC, or of REST where it is an http:// one."""
    if not value.startswith(("http://", "https://")):
        return address(value)
    try:
        told = urlsplit(value)
        known = told.hostname and told.port is not None and not (told.query or told.fragment or told.username)
    except ValueError:
        known = False
    if not known:
        raise argparse.ArgumentTypeError(f"expected http://HOST:PORT, such as http://localhost:8501, got {value!r}")
    return value.rstrip("/")


def finite(value: str) -> float:
    """Of an argument that is a number."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a number, got {value!r}")
    return number


def place(value: str) -> Place:
    """A folder of this machine, or one in a store."""
    try:
        return storage.at(value)
    except StorageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, type=place, metavar="DIR", help="a version, or the folder of versions"
    )


def add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="of the pipeline")
