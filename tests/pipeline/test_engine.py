"""What is said of an engine that fails: texts as Beam's runners gave them."""

import itertools
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from memefly.engine import PoolState
from memefly.errors import ConfigError, DataError, EngineError, PipelineError
from pipeline import engine, worker_pool
from pipeline.engine import Heard
from tests import ports

ENGINE = ("--runner=PortableRunner", "--job_endpoint=flink:8099", "--environment_type=EXTERNAL")
POOL = "--environment_config=localhost:50000"

IN_DOFN = """bundle inst013 stage-041 failed:Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1562, in apache_beam.runners.common.DoFnRunner.process
  File "/x/components/image_features/executor.py", line 139, in process
    raise ValueError(
ValueError: Memory: cannot allocate

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/x/apache_beam/runners/worker/sdk_worker.py", line 303, in _execute
    response = task()
{kind}: {said} [while running 'Refer[train]-ptransform-33']
"""
RENDEZVOUS = """<_MultiThreadedRendezvous of RPC that terminated with:
	status = StatusCode.UNAVAILABLE
	details = "Socket closed"
	debug_error_string = "UNKNOWN:Error received from peer"
>"""
DISCONNECTED = (
    "Pipeline job-003 failed in state FAILED: bundle inst010 stage-010 failed:SDK worker disconnected: "
    "worker[job-003[job]_ref_Environment_default_environment_1], 2 active instructions, error: context canceled"
)


def said(error, *heard, arguments=(*ENGINE, POOL), lost=None):
    return engine.failure("ImageFeatures", error, Heard(list(heard), lost or {}), arguments, "root/runs/r/run.log")


@pytest.mark.parametrize("kind", ["RuntimeError", "builtins.RuntimeError"])
def test_the_last_line_of_the_worker_is_said(kind):
    error = RuntimeError("Pipeline job-1 failed in state FAILED: Error running pipeline.")
    told = said(error, "something else", IN_DOFN.format(kind=kind, said="no more of it: none"))
    assert isinstance(told, EngineError) and told.exit_code == 1
    assert str(told) == (
        "ImageFeatures failed on the engine at flink:8099: a worker failed: RuntimeError: no more of it: none. What it "
        "said as a whole is in root/runs/r/run.log. Running the same command again goes on from here: what was "
        "finished before, and features that were encoded, stay"
    )


def test_an_error_of_ours_is_the_one_that_it_would_be_here():
    told = said(RuntimeError(IN_DOFN.format(kind="memefly.errors.DataError", said="picture x is broken; mend it")))
    assert type(told) is DataError and str(told) == "picture x is broken; mend it" and told.exit_code == 2
    told = said(RuntimeError(IN_DOFN.format(kind="memefly.errors.PipelineError", said="the disk is full")))
    assert type(told) is PipelineError and told.component == "ImageFeatures" and str(told) == "the disk is full"
    told = said(RuntimeError(IN_DOFN.format(kind="memefly.errors.PictureError", said="it takes two arguments")))
    assert str(told) == "ImageFeatures failed: it takes two arguments"


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        (RENDEZVOUS, "UNAVAILABLE: Socket closed"),
        (
            DISCONNECTED,
            "SDK worker disconnected: worker[job-003[job]_ref_Environment_default_environment_1], 2 active "
            "instructions, error: context canceled",
        ),
    ],
)
def test_a_loss_is_called_one(text, sign):
    told = said(RuntimeError(text))
    assert f"flink:8099: a worker, or the engine itself, was lost ({sign}). What it said" in str(told)


def test_what_the_pool_knows_goes_before_what_the_engine_guesses():
    told = said(RuntimeError(RENDEZVOUS), lost={"worker_2": "was killed by SIGKILL"})
    assert "flink:8099: worker worker_2 of the pool at localhost:50000 was killed by SIGKILL. What" in str(told)


def test_without_an_engine_it_is_the_component_and_the_last_line():
    told = said(
        RuntimeError(IN_DOFN.format(kind="KeyError", said="'x'")), arguments=("--direct_running_mode=in_memory",)
    )
    assert isinstance(told, PipelineError) and str(told) == "ImageFeatures failed: KeyError: 'x'"
    told = said(OSError("no space\nat all"), arguments=())
    assert str(told) == "ImageFeatures failed: OSError: no space"


def test_a_job_may_take_longer_than_a_minute():
    made = engine.arguments([*ENGINE, POOL])
    assert "--runner=pipeline.engine.WatchedRunner" in made and "--job_endpoint=flink:8099" in made
    (limit,) = (argument for argument in made if argument.startswith("--job_server_timeout="))
    assert int(limit.partition("=")[2]) >= 7 * 24 * 3600
    assert "--job_server_timeout=5" in engine.arguments([*ENGINE, "--job_server_timeout=5"])
    assert len([one for one in engine.arguments([*ENGINE, "--job_server_timeout=5"]) if "timeout" in one]) == 1
    assert not any("timeout" in one for one in engine.arguments(["--direct_running_mode=in_memory"]))


def test_arguments_that_nobody_knows_are_refused(monkeypatch):
    monkeypatch.setattr(engine.engine, "knock", lambda endpoint: b"")
    engine.check(
        [*ENGINE, "--parallelism=2", "--sdk_worker_parallelism=1", "--temp_location=/x", "--no_use_public_ips"]
    )
    with pytest.raises(ConfigError, match="beam: --paralelism: neither Beam nor the job server knows such an argument"):
        engine.check([*ENGINE, "--paralelism=2"])


def test_dataflow_needs_an_image_that_has_this_package():
    with pytest.raises(ConfigError, match="expected --sdk_container_image=IMAGE"):
        engine.check(["--runner=DataflowRunner", "--project=p", "--region=r"])
    engine.check(["--runner=DataflowRunner", "--project=p", "--region=r", "--sdk_container_image=x/y:1"])


DOCS = Path(__file__).parents[2] / "docs" / "engines.md"


def test_arguments_in_the_documentation_are_those_of_beam():
    """By its own parser: each is known, and none is left over."""
    rows = [row for row in DOCS.read_text().splitlines() if row.startswith("|") and "`--" in row]
    told = {row.split("|")[1].strip(): re.findall(r"--\w+=\S+?(?=[`\s])", row) for row in rows}
    assert {"Flink", "Spark", "Dataflow", "Prism"} - set(told) == {"Prism"}, "Prism's are those above it"
    for name, arguments in told.items():
        given = [argument.replace("HOST:PORT", "localhost:1") for argument in arguments]
        assert given, name
        engine._check_arguments(given, set())
        options = PipelineOptions(given).get_all_options()
        for argument in given:
            key, _, value = argument.removeprefix("--").partition("=")
            found = options[key]
            assert value in (str(found), *map(str, found if isinstance(found, list) else [])), (name, argument)


@pytest.fixture
def cancelled(monkeypatch):
    """Set when the job that runs is cancelled."""
    event = threading.Event()
    monkeypatch.setattr(engine, "_RUNNING", [SimpleNamespace(cancel=event.set)])
    monkeypatch.setattr(engine, "_LOOK", 0.05)
    monkeypatch.setattr(engine, "_GRACE", 0.5)
    return event


def states(monkeypatch, *told):
    """What the pool tells of itself, one after another; the last for ever."""
    left = list(told)
    monkeypatch.setattr(engine.engine, "pool_state", lambda pool: left.pop(0) if len(left) > 1 else left[0])


A, B = PoolState("a", {}), PoolState("b", {})


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ([A, A, None], "the worker pool at localhost:50000 answers no more, and its workers are gone"),
        ([A, A, B], "the worker pool at localhost:50000 was started anew, and its workers are gone"),
        ([A, PoolState("a", {"w": "was killed by SIGKILL"})], "worker w of the pool at localhost:50000 was killed"),
    ],
)
def test_a_job_whose_workers_are_gone_is_cancelled_and_says_how(monkeypatch, cancelled, told, what):
    states(monkeypatch, *told)
    with engine.listening([*ENGINE, POOL]) as heard:
        assert cancelled.wait(10)
    said = engine.failure("ImageFeatures", RuntimeError("CANCELLED"), heard, [*ENGINE, POOL], "run.log")
    assert what in str(said)


@pytest.mark.parametrize("told", [[A, None, A], [A, B, A, B, A], [None], [PoolState("a", {"old": "was killed"})]])
def test_one_that_is_there_is_left_alone(monkeypatch, cancelled, told):
    """Also where it was late once, where several share a name, where it is of another make, and where it lost a worker
    of another job before."""
    turn = itertools.cycle(told[1:]) if len(told) > 3 else None
    if turn:
        first = iter(told[:1])
        monkeypatch.setattr(engine.engine, "pool_state", lambda pool: next(first, None) or next(turn))
    else:
        states(monkeypatch, *told)
    with engine.listening([*ENGINE, POOL]) as heard:
        assert not cancelled.wait(1.5)
    assert not heard.pool and not heard.lost


def test_a_pool_tells_of_itself_until_it_stops():
    (port,) = ports.free(1)
    address = f"localhost:{port}"
    with worker_pool.serving(port):
        first = engine.engine.pool_state(address)
        assert first.pool and first.lost == {}
    assert engine.engine.pool_state(address) is None
    with worker_pool.serving(port):
        assert engine.engine.pool_state(address).pool != first.pool
