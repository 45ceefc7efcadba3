import asyncio
import gzip
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from stress.bombs import BOMBS
from told import Told, picture

from memefly import images
from memefly.commands import main as cli
from memefly.errors import BackendError, BusyError, ModelError, PictureError, UnsafeError
from memefly.serving.batching import Batcher
from memefly.serving.service import create_app
from memefly.serving.settings import ServiceConfig

MAX_BYTES, MAX_PICTURES = ServiceConfig().megabytes << 20, ServiceConfig().pictures


@pytest.fixture
def backend():
    return Told()


@pytest.fixture
def client(backend):
    with TestClient(create_app(backend)) as client:
        yield client
    assert backend.closed


CAPTIONS = [
    {"caption": "a red\nsquare", "boxes": ["a red", "square"], "score": -0.1235},
    {"caption": "red", "boxes": ["red"], "score": -2.0},
]


def test_a_picture_as_the_body(client, backend):
    answer = client.post("/v1/captions?beam=5&temperature=0.5", content=picture())
    assert answer.status_code == 200
    model = {"name": "captioner", "version": 7, "digest": "d1ge57"}
    assert answer.json() == {"results": [{"name": "picture", "captions": CAPTIONS}], "model": model}
    assert backend.asked == [(b"\x89PNG", {"beam": 5, "temperature": 0.5})]


def test_what_may_not_be_said_is_told_as_that(client, backend):
    backend.raises = UnsafeError()
    response = client.post("/v1/captions", content=picture())
    assert response.status_code == 422
    assert response.json()["results"][0]["error"]["reason"] == "unsafe"
    assert 'memefly_pictures_total{outcome="unsafe"} 1.0' in client.get("/metrics").text


def test_several_pictures_and_what_is_none(client, backend):
    """A WebP is written anew as PNG before the model sees it; what cannot be read is told beside the others."""
    files = [
        ("a", ("cat.jpg", picture("JPEG"))),
        ("b", ("dog.webp", picture("WEBP"))),
        ("c", ("cut.png", picture()[:40])),
        ("d", ("empty.png", b"")),
    ]
    results = client.post("/v1/captions", files=files).json()["results"]
    assert [r["name"] for r in results] == ["cat.jpg", "dog.webp", "cut.png", "empty.png"]
    assert results[0]["captions"] == results[1]["captions"] == CAPTIONS
    assert results[2]["error"]["reason"] in ("truncated", "not_a_picture")
    assert results[3]["error"]["reason"] == "empty_file"
    assert sorted(start for start, _ in backend.asked) == [b"\x89PNG", b"\xff\xd8\xff\xe0"]


@pytest.mark.parametrize(
    ("path", "content", "status", "reason"),
    [
        ("/v1/captions", b"no picture", 422, None),
        ("/v1/captions", b"", 400, "no_picture"),
        ("/v1/captions?beams=2", picture(), 400, "bad_knob"),
        ("/v1/captions?beam=two", picture(), 400, "bad_knob"),
        ("/v1/captions?beam=100000", picture(), 400, "bad_knob"),
        ("/v1/captions?groups=0", picture(), 400, "bad_knob"),
        ("/v1/captions?temperature=nan", picture(), 400, "bad_knob"),
        ("/v1/captions?top_k=-1", picture(), 400, "bad_knob"),
        (f"/v1/captions?prefix={'a' * 501}", picture(), 400, "bad_knob"),
        ("/v1/captions", bytes(MAX_BYTES + 1), 413, "too_large"),
    ],
)
def test_wrong_use(client, path, content, status, reason):
    answer = client.post(path, content=content)
    assert answer.status_code == status
    if reason:
        assert answer.json()["error"]["reason"] == reason and answer.json()["error"]["detail"]


def test_knobs_agree_with_the_model_and_not_with_our_defaults(client, backend):
    assert client.post("/v1/captions?groups=4", content=picture()).status_code == 200
    assert backend.asked == [(b"\x89PNG", {"groups": 4})]


def test_words_to_begin_with(client, backend):
    answer = client.post("/v1/captions", params={"prefix": "one does\n", "beam": 2}, content=picture())
    assert answer.status_code == 200 and backend.asked == [(b"\x89PNG", {"beam": 2, "prefix": "one does\n"})]


def test_what_a_request_may_cost(client, backend):
    many = [("a", (f"{i}.png", picture())) for i in range(MAX_PICTURES + 1)]
    answer = client.post("/v1/captions", files=many)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "too_many")

    def endless():  # chunked: no header says how long it is
        for _ in range(2 * MAX_BYTES // (1 << 20)):
            yield bytes(1 << 20)

    for headers in ({}, {"content-type": "multipart/form-data; boundary=b"}):
        answer = client.post("/v1/captions", content=endless(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "too_large")
    wide = client.post("/v1/captions", content=picture(size=(30_000, 1000)))
    assert wide.json()["results"][0]["error"]["reason"] == "too_large"
    assert backend.asked == []


def test_those_who_would_wait_too_long_are_turned_away():
    """One picture is with the model; the next is refused at once, and the probes answer meanwhile."""
    backend, go, entered = Told(), threading.Event(), threading.Event()
    caption = backend.caption
    backend.caption = lambda *arguments: (entered.set(), go.wait(10), caption(*arguments))[-1]

    async def both():
        transport = httpx.ASGITransport(create_app(backend, ServiceConfig(waiting=1)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = asyncio.create_task(client.post("/v1/captions", content=picture()))
            assert await asyncio.to_thread(entered.wait, 10)
            second = await client.post("/v1/captions", content=picture())
            ready = await client.get("/readyz")
            go.set()
            return (
                (await first).status_code,
                second,
                ready.status_code,
                await client.post("/v1/captions", content=picture()),
            )

    first, second, ready, third = asyncio.run(both())
    assert (first, second.status_code, ready, third.status_code) == (200, 503, 200, 200)
    assert second.json()["error"]["reason"] == "busy" and second.headers["retry-after"] == "1"


def test_what_nobody_foresaw_is_an_error_in_json_too():
    with TestClient(create_app(Told(ZeroDivisionError("a secret"))), raise_server_exceptions=False) as client:
        answer = client.post("/v1/captions", content=picture())
        assert answer.status_code == 500 and answer.json()["error"]["reason"] == "failed"
        assert "secret" not in answer.text and answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/nowhere").json()["error"]["reason"] == "wrong_use"
        assert 'memefly_request_seconds_count{status="500"} 1.0' in client.get("/metrics").text


@pytest.mark.slow
def test_a_model_in_this_process(exported, pictures):
    from memefly.exported import loading
    from memefly.serving.local_model import LocalModel

    backend, model = LocalModel(exported), loading.load(exported)
    assert backend.status().ready
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda data: backend.caption(data, {}).captions[0].text, pictures[:24]))
        wide = list(pool.map(lambda data: len(backend.caption(data, {"beam": 5}).captions), pictures[:4]))
    assert said == [row[0].text for row in model.caption(pictures[:24])] and wide == [5] * 4
    for knobs in ({}, {"beam": 2}):
        with pytest.raises(PictureError):
            backend.caption(b"no picture", knobs)
    with pytest.raises(ModelError):
        backend.caption(pictures[0], {"groups": 2})
    backend.close()
    assert not backend.status().ready
    with pytest.raises(BusyError):
        backend.caption(pictures[0], {})


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ModelError("groups is 7"), 400, "bad_knob"),
        (BusyError("64 wait"), 503, "busy"),
        (BackendError("no answer"), 503, "no_model"),
    ],
)
def test_what_the_model_raises(error, status, reason):
    with TestClient(create_app(Told(error))) as client:
        answer = client.post("/v1/captions", content=picture())
        assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
        assert ("retry-after" in answer.headers) == (status == 503)
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200


def test_metrics_count_pictures(client):
    client.post("/v1/captions", content=picture())
    client.post("/v1/captions", content=b"no picture")
    assert client.get("/readyz").json() == {"ready": True, "version": 7, "detail": "told"}
    text = client.get("/metrics").text
    assert 'memefly_pictures_total{outcome="captioned"} 1.0' in text
    assert 'memefly_pictures_total{outcome="not_a_picture"} 1.0' in text
    assert 'memefly_request_seconds_count{status="422"} 1.0' in text
    assert "memefly_ready 1.0" in text


@pytest.mark.parametrize(
    "kind", ["Multipart/Form-Data", "MULTIPART/FORM-DATA", " multipart/form-data ", "multipart/form-data;a=b"]
)
def test_header_values_are_compared_as_http_says(client, kind):
    body = b'--b\r\nContent-Disposition: form-data; name="a"; filename="cat.png"\r\n\r\n' + picture() + b"\r\n--b--\r\n"
    answer = client.post("/v1/captions", content=body, headers={"content-type": f"{kind}; Boundary=b"})
    assert answer.status_code == 200 and answer.json()["results"][0]["name"] == "cat.png"


def test_a_packed_body_is_not_taken_for_a_picture(client):
    packed = client.post("/v1/captions", content=gzip.compress(picture()), headers={"content-encoding": "GZip"})
    assert (packed.status_code, packed.json()["error"]["reason"]) == (415, "bad_encoding")
    assert client.post("/v1/captions", content=picture(), headers={"content-encoding": "Identity"}).status_code == 200


def test_a_picture_that_nobody_foresaw_harms_no_other(monkeypatch, client):
    canonical = images.canonical

    def odd(data, limit, **how):
        if data == b"odd":
            raise ZeroDivisionError("a secret")
        return canonical(data, limit, **how)

    monkeypatch.setattr("memefly.serving.service.images.canonical", odd)
    answer = client.post("/v1/captions", files=[("a", ("odd", b"odd")), ("b", ("cat.png", picture()))])
    assert answer.status_code == 200 and "secret" not in answer.text
    first, second = answer.json()["results"]
    assert (first["name"], first["error"]["reason"]) == ("odd", "failed") and second["captions"] == CAPTIONS


def test_who_hangs_up_leaves_no_traceback(caplog, backend):
    app = create_app(backend)
    sent = []

    async def hang_up():
        parts = iter([{"type": "http.request", "body": b"half a pic", "more_body": True}, {"type": "http.disconnect"}])

        async def receive():
            return next(parts)

        async def send(message):
            sent.append(message)

        for kind in (b"image/png", b"multipart/form-data; boundary=b"):
            parts = iter([{"type": "http.request", "body": b"--b\r\n", "more_body": True}, {"type": "http.disconnect"}])
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/captions",
                "query_string": b"",
                "http_version": "1.1",
            }
            await app({**scope, "headers": [(b"content-type", kind)]}, receive, send)

    asyncio.run(hang_up())
    assert [m["status"] for m in sent if m["type"] == "http.response.start"] == [499, 499]
    assert not caplog.records


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_keeps_no_neighbour_waiting(client, bomb):
    """Time and memory of a picture are bounded, whatever it holds; a good one meanwhile is answered within twice its
    usual time, or a quarter of a second where that is less than this machine's own unrest."""
    good, data = picture(size=(640, 480)), BOMBS[bomb]()
    assert len(data) <= MAX_BYTES

    def seconds() -> float:
        started = time.perf_counter()
        assert client.post("/v1/captions", content=good).status_code == 200
        return time.perf_counter() - started

    usual = statistics.median(seconds() for _ in range(9))
    with ThreadPoolExecutor(1) as pool:
        started = time.perf_counter()
        exploding = pool.submit(lambda: client.post("/v1/captions", content=data))
        during = [seconds() for _ in range(9)]  # a bomb that is dealt with at once has few moments to wait in
        while not exploding.done():
            during.append(seconds())
        took = time.perf_counter() - started
    answer = exploding.result()
    assert answer.status_code in (200, 422)
    (result,) = answer.json()["results"]
    assert "captions" in result or result["error"]["reason"] in images.REASONS
    assert statistics.median(during) < max(2 * usual, 0.25)
    assert took < 60, "seven seconds of a processor, on a machine with other things to do"


# --- the command ----------------------------------------------------------------------------------------------------


def status_of(arguments: list[str]) -> int:
    try:
        return cli.main(["serve", *arguments])
    except SystemExit as error:  # argparse's own
        return error.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "M", "--port", "99999"], "expected a port, 0 to 65535"),
        (["--model", "M", "--port", "-1"], "expected a port"),
        (["--model", "M", "--port", "²"], "expected a port"),
        (["--model", "M", "--host", "no.such.host.invalid"], "--host no.such.host.invalid:"),
        (["--model", "M", "--label", "stable"], "--label is for --tf-serving"),
        (["--model", "M", "--largest-batch", "0"], "expected a whole number from 1"),
        (["--tf-serving", "localhost"], "expected HOST:PORT"),
        (["--tf-serving", "localhost:http"], "expected HOST:PORT"),
        (["--tf-serving", "ftp://localhost:8500"], "expected HOST:PORT"),
        (["--tf-serving", "http://localhost"], "expected http://HOST:PORT"),
        (["--tf-serving", "http://localhost:8501/?a"], "expected http://HOST:PORT"),
        (["--model", "M", "--models", "."], "--models is for --tf-serving"),
        (["--model", "M", "--api-keys", "nowhere"], "--api-keys: no file nowhere"),
        (["--model", "M", "--rate", "often"], "--rate: "),
        (["--tf-serving", "localhost:8500", "--largest-batch", "2"], "--largest-batch is for --model"),
        (["--model", "nowhere", "--port", "0"], "nowhere is not a model of memefly"),
    ],
)
def test_arguments_are_checked_before_anything_is_loaded(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr("memefly.commands.serving.import_tensorflow", lambda: pytest.fail("loads TensorFlow"))
    assert status_of(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_told_before_a_model_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr("memefly.commands.serving.import_tensorflow", lambda: pytest.fail("loads TensorFlow"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert status_of(["--model", "M", "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


# --- batches ------------------------------------------------------------------------------------------------------


class Slow:
    """Answers each picture with its length, when it is let."""

    def __init__(self):
        self.sizes, self.go, self.entered = [], threading.Event(), threading.Event()

    def __call__(self, batch):
        self.entered.set()
        assert self.go.wait(10)
        self.sizes.append(len(batch))
        if b"bad" in batch:
            raise ValueError("one of them was bad")
        return {"length": np.array([len(data) for data in batch])}


def test_what_waits_goes_together():
    model = Slow()
    batcher = Batcher(model, largest=3)
    first = batcher.submit(b"a")
    assert model.entered.wait(10)
    rest = [batcher.submit(b"b" * n) for n in range(2, 7)]
    model.go.set()
    assert [f.result(10)["length"] for f in [first, *rest]] == [1, 2, 3, 4, 5, 6]
    assert model.sizes == [1, 3, 2]
    batcher.close()


def test_callers_share_what_waits():
    """Two calls at the same time, and what waits for them is shared between those who are free."""
    both, sizes, threads = threading.Barrier(2), [], set()

    def model(batch):
        both.wait(10)  # nobody is alone in it
        sizes.append(len(batch))
        threads.add(threading.get_ident())
        return {"length": np.array([len(data) for data in batch])}

    batcher = Batcher(model, largest=4, callers=2)
    futures = [batcher.submit(b"a"), batcher.submit(b"bb")]
    assert [f.result(10)["length"] for f in futures] == [1, 2]
    assert sizes == [1, 1] and len(threads) == 2
    batcher.close()
    assert not batcher.alive
    with pytest.raises(BusyError, match="shutting down"):
        batcher.submit(b"late")


def test_closing_answers_what_waits_for_several_callers():
    entered, go, sizes = threading.Semaphore(0), threading.Event(), []

    def model(batch):
        entered.release()
        assert go.wait(10)
        sizes.append(len(batch))
        return {"length": np.array([len(data) for data in batch])}

    batcher = Batcher(model, largest=2, callers=3, waiting=20)
    futures = []
    for n in range(3):  # one each
        futures.append(batcher.submit(b"x" * n))
        assert entered.acquire(timeout=10)
    futures += [batcher.submit(b"x" * n) for n in range(3, 12)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    go.set()
    closing.join(10)
    assert not closing.is_alive() and not batcher.alive
    assert [f.result(0)["length"] for f in futures] == list(range(12))
    assert sum(sizes) == 12 and max(sizes) == 2


def test_errors_reach_those_who_asked_and_nobody_else():
    model = Slow()
    batcher = Batcher(model, largest=4)
    futures = [batcher.submit(b"first")]
    assert model.entered.wait(10)
    futures += [batcher.submit(b"a"), batcher.submit(b"bad"), batcher.submit(b"bb")]
    model.go.set()
    with pytest.raises(ValueError, match="one of them"):
        futures.pop(2).result(10)
    assert [f.result(10)["length"] for f in futures] == [5, 1, 2]
    assert model.sizes == [1, 3, 1, 1, 1], "the batch failed, then each was asked alone"
    batcher.close()
    with pytest.raises(BusyError, match="shutting down"):
        batcher.submit(b"late")


def test_too_many_are_turned_away_and_closing_answers_the_rest():
    model = Slow()
    batcher = Batcher(model, largest=1, waiting=2)
    first = batcher.submit(b"1")
    assert model.entered.wait(10)
    waiting = [batcher.submit(b"22"), batcher.submit(b"333")]
    with pytest.raises(BusyError, match="2 pictures are waiting"):
        batcher.submit(b"4444")
    waiting[0].cancel()
    model.go.set()
    assert first.result(10)["length"] == 1 and waiting[1].result(10)["length"] == 3
    batcher.close()
    assert model.sizes == [1, 1]
