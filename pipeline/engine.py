"""What Beam's stages run on: this process, or an engine whose workers are elsewhere.

>>> check(config.beam)                   # EngineError within seconds, where nobody is there to run anything
>>> with listening(config.beam) as heard:
...     launch(node)                     # raises what Beam raises
>>> raise failure("ImageFeatures", error, heard, config.beam, log)
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.portability.portable_runner import PipelineResult, PortableRunner

from memefly import engine, errors
from memefly.errors import ConfigError, EngineError, MemeflyError, PipelineError, first_line

log = logging.getLogger("memefly.engine")

_LONGEST = 30 * 24 * 3600  # seconds
_PICKLED = "--pickle_library=cloudpickle"
_WATCHED = "--runner=pipeline.engine.WatchedRunner"
_RUNNING: list[PipelineResult] = []
_LOOK, _GRACE = 2.0, 15.0  # seconds between looks for lost workers, and for an engine to see for itself
_EMBEDDED = ("", "embed")  # Beam's own job service, in this process
# What an exception ends with in the text of a traceback, and what Beam puts behind it.
_RAISED = re.compile(r"^(?:\w+\.)*(\w+)(?:: (.*))?$")
_WHILE = re.compile(r" \[while running '.*")
_WHERE = re.compile(r"^(?:Pipeline \S+ failed in state \w+: )?(?:bundle \S+ \S+ failed: ?)?")
_LOST = re.compile(
    r"MultiThreadedRendezvous|StatusCode\.|Socket closed|context canceled|UNAVAILABLE|CANCELLED|\bEOF\b|"
    r"connection (?:reset|refused|closed)|(?:worker|harness|environment)\b.*\b(?:lost|exited|died|disconnected|failed)",
    re.IGNORECASE,
)


def endpoint(given: Sequence[str]) -> str:
    """HOST:PORT of the job server that Beam's arguments name; "" where they name none."""
    found = PipelineOptions(list(given)).view_as(PortableOptions).job_endpoint or ""
    return "" if found in _EMBEDDED else found


def arguments(given: Sequence[str]) -> list[str]:
    """Beam's arguments as they are handed on. Functions are pickled as newer Beams do it by themselves. With a job
    server, its jobs may take as long as they take: Beam's own limit, --job_server_timeout, is a minute for every call,
    and the one that waits for the job is such a call."""
    made, ours = [*given], [_PICKLED]
    if endpoint(given):
        made = [_WATCHED if argument == "--runner=PortableRunner" else argument for argument in given]
        ours.append(f"--job_server_timeout={_LONGEST}")
    said = {argument.partition("=")[0] for argument in given}
    return made + [argument for argument in ours if argument.partition("=")[0] not in said]


def check(given: Sequence[str]) -> None:
    """Looks at the engine that Beam's arguments name, before anything starts. Raises `EngineError` where no job server
    answers, `ConfigError` where it does not know an argument, nor does Beam."""
    runner = next((one.partition("=")[2] for one in given if one.startswith("--runner=")), "")
    if runner.lower() == "dataflowrunner" and not any(one.startswith("--sdk_container_image=") for one in given):
        raise ConfigError(
            "beam: --runner=DataflowRunner: its workers are to have this package, and nothing says where from; "
            "expected --sdk_container_image=IMAGE, of deploy/flink/Dockerfile for example"
        )
    where = endpoint(given)
    if not where:
        return
    described = beam_job_api_pb2.DescribePipelineOptionsResponse.FromString(engine.knock(where))
    _check_arguments(given, {option.name for option in described.options})
    if pool := _pool(given):
        try:
            engine.knock_at_pool(pool, timeout=2.0)
        except EngineError as error:
            # The address is what the engine's machines call it: from here it may be another one, or none.
            log.warning("seen from here, %s (--environment_config); the engine may see it", first_line(error))


def _pool(given: Sequence[str]) -> str:
    """HOST:PORT of the worker pool that Beam's arguments name; "" where they name none."""
    portable = PipelineOptions(list(given)).view_as(PortableOptions)
    external = (portable.environment_type or "").upper() == "EXTERNAL"
    return (portable.environment_config or "").removeprefix("http://") if external else ""


def _check_arguments(given: Sequence[str], of_engine: set[str]) -> None:
    known = set().union(*(_names(options) for options in _all_subclasses(PipelineOptions))) | of_engine
    names = {argument.partition("=")[0].lstrip("-") for argument in given if argument.startswith("--")}
    if unknown := sorted(name for name in names if name not in known and name.removeprefix("no_") not in known):
        raise ConfigError(
            f"beam: {', '.join('--' + name for name in unknown)}: neither Beam nor the job server knows such an "
            "argument; docs/engines.md has those that engines take"
        )


def _all_subclasses(kind: type) -> Iterator[type]:
    one: type
    for one in kind.__subclasses__():
        yield one
        yield from _all_subclasses(one)


def _names(options: type) -> set[str]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    with contextlib.suppress(AttributeError, argparse.ArgumentError):
        options._add_argparse_args(parser)  # type: ignore[attr-defined]
    return {name.lstrip("-") for action in parser._actions for name in action.option_strings}


class WatchedRunner(PortableRunner):
    """Beam's PortableRunner, whose running job can be cancelled from outside."""

    def run_portable_pipeline(self, pipeline, options):
        result = super().run_portable_pipeline(pipeline, options)
        _RUNNING[:] = [result]  # TFX runs one after another
        return result


@dataclass
class Heard:
    """What was heard of an engine while it ran something."""

    errors: list[str] = field(default_factory=list)  # as it says them; Beam only logs it
    lost: dict[str, str] = field(default_factory=dict)  # workers, and what became of them
    pool: str = ""  # what became of their pool


@contextlib.contextmanager
def listening(given: Sequence[str]) -> Iterator[Heard]:
    """Listens to the engine that Beam's arguments name, as long as the block runs. Where a worker is lost and the
    engine does not notice, as Beam's own job service does not, its job is cancelled."""
    heard = Heard()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.errors.append(record.getMessage())

    ear, over = Ear(logging.ERROR), threading.Event()
    logging.getLogger().addHandler(ear)
    where, pool = endpoint(given), _pool(given)
    if where and pool:
        threading.Thread(target=_watch, args=(where, pool, heard, over), daemon=True).start()
    try:
        yield heard
    finally:
        over.set()
        logging.getLogger().removeHandler(ear)


def _watch(where: str, pool: str, heard: Heard, over: threading.Event) -> None:
    """Asks a worker pool which workers it lost, and ends the engine's job when the engine has not done so in time."""
    before = engine.pool_state(pool)
    if before is None:  # of another make
        return
    well, seen, several = time.monotonic(), [before.pool], False
    while not over.wait(_LOOK):
        told = engine.pool_state(pool)
        if told:
            heard.lost |= {name: how for name, how in told.lost.items() if name not in before.lost}
            several |= told.pool in seen[:-1]  # pools that share a name, and answer in turn
            seen += [told.pool] if told.pool not in seen else []
        if not heard.lost and told and (several or told.pool == before.pool):
            well = time.monotonic()
        if time.monotonic() - well > _GRACE:
            heard.pool = "" if heard.lost else "was started anew" if told else "answers no more"
            for job in _RUNNING:
                log.warning("the job on %s is cancelled: a worker of it was lost, or their pool", where)
                with contextlib.suppress(grpc.RpcError):  # of an engine that is gone itself
                    job.cancel()
            return


def failure(name: str, error: Exception, heard: Heard, given: Sequence[str], log_file: str) -> MemeflyError:
    """The error of a component that failed, in our words: what happened where the work was done."""
    where = endpoint(given)
    texts = [str(error), *reversed(heard.errors)]
    raised = next((found for text in texts if (found := _raised(text))), None)
    if raised and (ours := _ours(name, *raised)):
        return ours
    if not where:
        said = ": ".join(part for part in raised if part) if raised else f"{type(error).__name__}: {first_line(error)}"
        return PipelineError(name, f"{name} failed: {said}")
    if heard.lost:
        what = "; ".join(f"worker {name} of the pool at {_pool(given)} {how}" for name, how in heard.lost.items())
    elif heard.pool:
        what = f"the worker pool at {_pool(given)} {heard.pool}, and its workers are gone"
    elif raised:
        what = f"a worker failed: {': '.join(part for part in raised if part)}"
    elif lost := next((text for text in texts if _LOST.search(text)), None):
        what = f"a worker, or the engine itself, was lost ({_sign(lost)})"
    else:
        what = first_line(error)
    return EngineError(
        f"{name} failed on the engine at {where}: {what}. What it said as a whole is in {log_file}. Running the same "
        "command again goes on from here: what was finished before, and features that were encoded, stay"
    )


def _raised(text: str) -> tuple[str, str] | None:
    """The last exception of the tracebacks in a text, (type, message); None without one."""
    found, inside = None, False
    for line in text.splitlines():
        if "Traceback (most recent call last)" in line:
            inside = True
            continue
        match = _RAISED.match(_WHILE.sub("", line)) if inside else None
        if match and match[1][:1].isupper():  # and no part of a stack
            found, inside = (match[1], (match[2] or "").strip()), False
    return found


def _ours(name: str, kind: str, message: str) -> MemeflyError | None:
    """An error of ours that a worker raised, which came here as text."""
    found = getattr(errors, kind, None)
    if not (isinstance(found, type) and issubclass(found, MemeflyError)):
        return None
    if issubclass(found, PipelineError):
        return PipelineError(name, message)
    try:
        return found(message)
    except TypeError:  # it takes more than a message
        return PipelineError(name, f"{name} failed: {message}")


def _sign(text: str) -> str:
    """What of a long text tells of the loss."""
    details = re.search(r'details = "([^"]+)"', text)
    status = re.search(r"StatusCode\.(\w+)", text)
    if status:
        return f"{status[1]}{f': {details[1]}' if details else ''}"[:200]
    line = next((line.strip() for line in text.splitlines() if _LOST.search(line)), text)
    return _WHERE.sub("", line)[:200]
