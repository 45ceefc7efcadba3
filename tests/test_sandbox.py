"""A process apart: what it may take, and what becomes of those who ask it."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from memefly.sandbox import LimitError, Limits, Sandbox

LIMITS = Limits(seconds=20, megabytes=500)


def work(data: bytes, what: str) -> tuple[dict, bytes]:
    """What is asked of the process apart."""
    if what == "echo":
        print("to standard output", flush=True)
        print("to standard error", file=sys.stderr, flush=True)
        return {"length": len(data), "process": os.getpid()}, data[::-1]
    if what == "hang":
        while True:
            pass
    if what == "grow":
        return {"length": len(bytearray(2_000_000_000))}, b""
    if what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError(what)


@pytest.fixture
def sandbox(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    sandbox = Sandbox("test_sandbox:work")
    yield sandbox
    sandbox.close()


def test_bytes_go_in_and_come_out(sandbox, capfd):
    said, payload = sandbox(b"abc" * 1_000_000, LIMITS, what="echo")
    assert said["length"] == 3_000_000 and payload == b"cba" * 1_000_000
    assert sandbox(b"", LIMITS, what="echo")[0] == {"length": 0, "process": said["process"]}, "the same process"
    assert said["process"] != os.getpid() and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("what", "limits", "limit", "said"),
    [
        ("hang", Limits(1, 500), "time", "more than 1 seconds of a processor"),
        ("grow", Limits(20, 500), "memory", "more than 500 MB"),
        ("die", LIMITS, "crash", "its process was ended by SIGSEGV"),
    ],
)
def test_what_takes_too_much_ends_and_the_next_is_served(sandbox, what, limits, limit, said):
    with pytest.raises(LimitError, match=said) as raised:
        sandbox(b"", limits, what=what)
    assert raised.value.limit == limit
    assert sandbox(b"ab", LIMITS, what="echo")[1] == b"ba"


def test_a_process_that_somebody_kills_is_replaced(sandbox):
    first = sandbox(b"", LIMITS, what="echo")[0]["process"]
    os.kill(first, signal.SIGKILL)
    assert sandbox(b"ab", LIMITS, what="echo")[1] == b"ba"


@pytest.mark.parametrize(("what", "limit"), [("die", "crash"), ("grow", "memory")])
def test_who_ends_a_process_leaves_others_theirs(sandbox, what, limit):
    """One that is asked while another breaks a process down waits for no start, and neither does the one after it."""
    sandbox.start(2)
    ready = {child._process.pid for child in sandbox._idle}
    assert len(ready) == 2
    with pytest.raises(LimitError) as raised:
        sandbox(b"", LIMITS, what=what)
    assert raised.value.limit == limit
    assert sandbox._idle, "one is ready at once"
    until = time.monotonic() + 30
    while len(sandbox._idle) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert len(sandbox._idle) == 2 and len({child._process.pid for child in sandbox._idle} & ready) == 1


def test_each_caller_has_one_of_its_own(sandbox):
    found = []
    ends = threading.Barrier(4)

    def ask():
        ends.wait()
        for i in range(20):
            data = f"{threading.get_ident()} {i}".encode()
            said, payload = sandbox(data, LIMITS, what="echo")
            assert payload == data[::-1]
            found.append(said["process"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(found) == 80 and 1 <= len(set(found)) <= 4


def test_they_end_with_the_one_that_asks(tmp_path):
    """However that ends: killed, too."""
    code = (
        "import json, time, test_sandbox as t; s = t.Sandbox('test_sandbox:work');"
        "print(json.dumps(s(b'', t.LIMITS, what='echo')[0]['process']), flush=True); time.sleep(60)"
    )
    import subprocess

    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    asks = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    process = json.loads(asks.stdout.readline())
    asks.kill()
    asks.wait()
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it is still there")


def test_what_cannot_start_says_why():
    with pytest.raises(RuntimeError, match=r"nowhere:work does not start: ModuleNotFoundError"):
        Sandbox("nowhere:work")(b"", LIMITS)
