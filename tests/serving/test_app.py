"""Memes, words of one's own, templates: what the service makes of them, without a model."""

import base64
import io
import json
import logging

import anyio
import numpy as np
import pytest
import yaml
from PIL import Image
from starlette.testclient import TestClient
from told import Told, picture

from memefly.errors import BackendError, PictureError, UnsafeError
from memefly.exported.captions import Caption
from memefly.serving.backends import Answer, Model
from memefly.serving.service import create_app
from memefly.serving.settings import ServiceConfig

pytestmark = pytest.mark.once
WIDE = {"x": 0, "y": 0, "width": 9, "height": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    (folder / "drake.png").write_bytes(picture(size=(300, 200)))
    (folder / "cat.jpg").write_bytes(picture("JPEG", (200, 200)))
    boxes = [{"x": 0.5, "y": 0, "width": 0.5, "height": 0.5}, {"x": 0.5, "y": 0.5, "width": 0.5, "height": 0.5}]
    drake = {"name": "Drake", "picture": "drake.png", "words": ["no", "yes"], "boxes": boxes, "examples": [["a", "b"]]}
    (folder / "drake.yaml").write_text(yaml.safe_dump(drake))
    (folder / "cat.yaml").write_text(yaml.safe_dump({"name": "Grumpy Cat", "picture": "cat.jpg"}))
    return folder


@pytest.fixture
def backend():
    return Told()


@pytest.fixture
def client(backend, folder):
    with TestClient(create_app(backend, ServiceConfig(templates=folder))) as client:
        yield client


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_memes_of_a_picture(client, backend):
    answer = client.post("/v1/memes?n=2&size=128&format=webp&seed=4", content=picture(size=(300, 200)))
    assert answer.status_code == 200
    said = answer.json()
    assert said["model"] == {"name": "captioner", "version": 7, "digest": "d1ge57"} and said["seed"] is None
    (made,) = said["results"]
    assert [meme["caption"] for meme in made["memes"]] == ["a red\nsquare", "red"] and len(made["boxes"]) == 2
    first = made["memes"][0]
    assert [one["text"] for one in first["texts"]] == ["a red", "square"]
    assert first["alt"] == "Meme: a red / square"
    assert (first["media_type"], first["width"], first["height"]) == ("image/webp", 128, 85)
    assert (opened(base64.b64decode(first["image"])).format, backend.asked) == (
        "WEBP",
        [(b"\x89PNG", {"beam": 2, "seed": 4})],
    )


def test_what_is_drawn_says_its_seed(client, backend):
    seed = client.post("/v1/memes?temperature=0.8", content=picture()).json()["seed"]
    assert backend.asked == [(b"\x89PNG", {"temperature": 0.8, "seed": seed})] and 0 <= seed < 2**31
    assert client.post("/v1/memes?temperature=0.8&seed=3", content=picture()).json()["seed"] == 3


def test_memes_of_a_template_have_its_boxes(client, backend):
    (made,) = client.post("/v1/templates/drake/memes").json()["results"]
    assert made["name"] == "drake" and [box["x"] for box in made["boxes"]] == [0.5, 0.5]
    assert made["memes"][0]["alt"] == "Meme “Drake”: a red / square"
    answer = client.post("/v1/templates/drake/captions")
    assert answer.status_code == 200 and answer.json()["results"][0]["name"] == "drake"
    nobody = client.post("/v1/templates/nobody/memes")
    assert (nobody.status_code, nobody.json()["error"]["reason"]) == (404, "no_template")


def test_a_picture_that_cannot_be_read_is_told_beside_the_others(client):
    files = [("a", ("cat.png", picture())), ("b", ("dog.png", b"no picture"))]
    first, second = client.post("/v1/memes", files=files).json()["results"]
    assert first["memes"] and second["error"]["reason"] == "not_a_picture"
    alone = client.post("/v1/memes", content=b"no picture")
    assert alone.status_code == 422 and alone.json()["model"] is None


def test_words_of_ones_own(client):
    wanted = {"texts": ["one", "two"], "format": "png", "size": 150}
    answer = client.post("/v1/templates/drake/render", json=wanted)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["x-memefly-alt"] == "Meme%20%E2%80%9CDrake%E2%80%9D%3A%20one%20/%20two"
    assert answer.headers["cache-control"] == "no-store" and opened(answer.content).size == (150, 100)
    form = {"meme": json.dumps({"texts": ["above"], "boxes": [{"x": 0, "y": 0, "width": 1, "height": 0.3}]})}
    answer = client.post("/v1/render", data=form, files={"picture": ("a.png", picture(size=(300, 200)))})
    assert answer.status_code == 200
    changed = (np.asarray(opened(answer.content).convert("RGB"), np.int16) - (200, 10, 10)).any(axis=2)
    rows, _ = np.nonzero(changed)
    assert rows.min() < 60 and rows.max() < 60


@pytest.mark.parametrize(
    ("template", "how", "status", "reason"),
    [
        ("drake", {"json": {"texts": ["a", "b", "c"]}}, 422, "too_many_texts"),
        ("drake", {"json": {"texts": ["a" * 501]}}, 400, "bad_request"),
        ("drake", {"json": {"texts": "a"}}, 400, "bad_request"),
        ("drake", {"json": {"texts": [], "size": 9999}}, 400, "bad_request"),
        ("drake", {"json": {"texts": [], "boxes": [WIDE]}}, 400, "bad_request"),
        ("drake", {"json": {"texts": ["kill all jews"]}}, 422, "unsafe"),
        ("drake", {"content": b"no JSON", "headers": {"content-type": "application/json"}}, 400, "bad_request"),
        ("drake", {"content": bytes(21 << 20), "headers": {"content-type": "application/json"}}, 413, "too_large"),
        ("none", {"json": {"texts": []}}, 404, "no_template"),
        ("", {"json": {"texts": []}}, 415, "bad_type"),
        ("", {"content": picture(), "headers": {"content-type": "image/png"}}, 415, "bad_type"),
        ("", {"data": {"meme": '{"texts": []}'}, "files": {"picture": ("a", b"none")}}, 422, "not_a_picture"),
        ("", {"data": {"meme": "no JSON"}, "files": {"picture": ("a", picture())}}, 422, "bad_request"),
        ("", {"files": {"picture": ("a", picture())}}, 422, "bad_request"),
        ("", {"files": [("a", ("a", picture())), ("b", ("b", picture()))]}, 400, "no_picture"),
    ],
)  # fmt: skip
def test_what_cannot_be_written(client, template, how, status, reason):
    answer = client.post(f"/v1/templates/{template}/render" if template else "/v1/render", **how)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)


def test_templates_are_found_and_shown(client):
    said = client.get("/v1/templates").json()
    assert said["total"] == 2 and [one["key"] for one in said["templates"]] == ["cat", "drake"]
    assert [one["key"] for one in client.get("/v1/templates?search=yes").json()["templates"]] == ["drake"]
    assert client.get("/v1/templates?limit=1&offset=1").json()["templates"][0]["key"] == "drake"
    drake = client.get("/v1/templates/drake").json()
    assert drake["examples"] == [["a", "b"]] and drake["boxes"][0]["width"] == 0.5
    thumbnail = client.get(drake["picture"] + "?size=64")
    assert thumbnail.headers["content-type"] == "image/webp" and opened(thumbnail.content).size == (64, 43)
    for path in ("/v1/templates/none", "/v1/templates/none/picture", "/v1/templates/none/meme"):
        assert client.get(path).json()["error"]["reason"] == "no_template"
    assert client.get("/v1/templates?limit=0").status_code == 400


def test_a_meme_that_is_addressed_by_its_words_is_kept_by_who_asked(client):
    path = "/v1/templates/drake/meme?text=one&text=two&size=200"
    first = client.get(path)
    assert first.status_code == 200 and opened(first.content).size == (200, 133)
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(
        "/v1/templates/drake/meme?text=one&text=three&size=200", headers={"if-none-match": first.headers["etag"]}
    )
    assert other.status_code == 200 and other.headers["etag"] != first.headers["etag"]
    assert 'memefly_memes_total{cached="yes"} 1.0' in client.get("/metrics").text


def test_where_it_looked(client, backend):
    words = client.post("/v1/look?caption=a+red+square", content=picture()).json()["words"]
    assert [one["word"] for one in words] == ["a", "red", "square"]
    assert words[0]["weights"] == [[0.25, 0.25], [0.25, 0.25]]
    assert client.post("/v1/look", content=picture()).status_code == 400
    assert client.post("/v1/look?caption=a", content=b"no picture").status_code == 422


def test_no_words_are_written_that_may_not_be_said(client, backend):
    backend.captions = [Caption("kill all jews", -0.1), Caption("a cat", -0.2)]
    (made,) = client.post("/v1/memes?n=2", content=picture()).json()["results"]
    assert [meme["caption"] for meme in made["memes"]] == ["a cat"]
    (none,) = client.post("/v1/memes", content=picture()).json()["results"]
    assert none["error"]["reason"] == "unsafe"
    backend.raises = UnsafeError()
    assert client.post("/v1/memes", content=picture()).status_code == 422


def test_what_the_graph_does_not_read_as_it_should_is_written_anew(client, backend):
    """A gateway has no TensorFlow to ask whether it reads a picture as it is."""
    asked, caption = [], backend.caption

    def choosy(data, knobs):
        asked.append(data[:4])
        if data[:2] == b"\xff\xd8":
            raise PictureError("not_a_picture", "no JPEG of this kind")
        return caption(data, knobs)

    backend.caption = choosy
    assert client.post("/v1/captions", content=picture("JPEG")).status_code == 200
    assert [data[1:4] for data in asked] == [b"\xd8\xff\xe0", b"PNG"]


def test_without_a_model_words_are_still_written(client, backend):
    backend.raises = BackendError("away")
    assert client.get("/readyz").status_code == 503 and client.get("/v1/model").json()["ready"] is False
    assert client.post("/v1/memes", content=picture()).status_code == 503
    assert client.post("/v1/templates/drake/render", json={"texts": ["a"]}).status_code == 200


# --- who may ask, and what is told of it ------------------------------------------------------------------------------


def test_headers_of_every_answer(client):
    for path in ("/", "/v1/model", "/nowhere", "/healthz"):
        headers = client.get(path).headers
        assert (
            "default-src 'none'" in headers["content-security-policy"]
            and "unsafe" not in headers["content-security-policy"]
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert (headers["x-model-name"], headers["x-model-version"], headers["x-model-digest"]) == (
            "captioner",
            "7",
            "d1ge57",
        )
        assert len(headers["x-request-id"]) == 32 and "access-control-allow-origin" not in headers
    assert client.get("/v1/model", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/v1/model", headers={"x-request-id": 'not "mine"'}).headers["x-request-id"] != 'not "mine"'


def test_headers_name_the_model_that_answered_last(client, backend):
    backend.caption = lambda data, knobs: Answer(backend.captions, Model(8, "0ther"))
    assert client.post("/v1/captions", content=picture()).headers["x-model-version"] == "8"
    assert client.get("/v1/templates").headers["x-model-version"] == "8"


def test_a_line_of_json_a_request_and_no_word_in_it(folder, caplog):
    backend = Told()
    with caplog.at_level(logging.INFO, "memefly.requests"):
        with TestClient(create_app(backend, ServiceConfig(templates=folder))) as client:
            client.post("/v1/memes?seed=1", content=picture(), headers={"x-request-id": "abc"})
            client.post("/v1/templates/drake/render", json={"texts": ["my secret"]})
            client.get("/healthz")
        with TestClient(create_app(backend, ServiceConfig(templates=folder, log_words=True))) as client:
            client.post("/v1/templates/drake/render", json={"texts": ["my secret"]})
    memes, words, told = [json.loads(r.message) for r in caplog.records if r.name == "memefly.requests"]
    assert (memes["id"], memes["status"], memes["version"], memes["path"]) == ("abc", 200, 7, "/v1/memes")
    assert {"read", "decode", "model", "render"} <= set(memes["stages"]) and memes["ms"] >= max(
        memes["stages"].values()
    )
    assert "secret" not in json.dumps([memes, words]) and "red" not in json.dumps(memes)
    assert told["words"] == ["my secret"]


def test_a_body_that_does_not_come_is_not_waited_for(backend):
    with TestClient(create_app(backend, ServiceConfig(seconds=0.2))) as client:
        app = client.app

        async def ask():
            parts = iter([{"type": "http.request", "body": b"half", "more_body": True}])
            sent = []

            async def receive():
                if (message := next(parts, None)) is None:
                    await anyio.sleep(30)
                return message

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": "/v1/captions", "query_string": b"", "headers": []}
            await app({**scope, "http_version": "1.1"}, receive, send)
            return sent

        sent = anyio.run(ask)
    assert sent[0]["status"] == 408 and json.loads(sent[1]["body"])["error"]["reason"] == "too_slow"


def test_who_asks_too_often_is_told_when(backend):
    with TestClient(create_app(backend, ServiceConfig(rate="3/minute"))) as client:
        answers = [client.get("/v1/model") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].json()["error"]["reason"] == "too_often" and 0 < int(answers[3].headers["retry-after"]) <= 61
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_keys_are_wanted_and_can_be_taken_back(backend, tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text("# of friends\nfirst-key\n\nsecond-key\n")
    with TestClient(create_app(backend, ServiceConfig(keys=file))) as client:
        ask = lambda **headers: client.post("/v1/captions", content=picture(), headers=headers)  # noqa: E731
        refused = ask()
        assert (refused.status_code, refused.json()["error"]["reason"]) == (401, "no_key")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert ask(authorization="Bearer third-key").status_code == 401
        assert ask(authorization="Bearer # of friends").status_code == 401
        assert (
            ask(authorization="Bearer first-key").status_code == ask(**{"x-api-key": "second-key"}).status_code == 200
        )
        assert client.get("/").status_code == client.get("/healthz").status_code == 200
        file.write_text("second-key\n")
        assert ask(authorization="Bearer first-key").status_code == 401
        assert ask(authorization="bearer second-key").status_code == 200
        file.unlink()
        assert ask(authorization="Bearer second-key").status_code == 401
    monkeypatch.setenv("MEMEFLY_API_KEYS", "of-the-environment")
    file.write_text("of-the-file")
    with TestClient(create_app(backend, ServiceConfig(keys=file, rate="3/minute"))) as client:
        for key in ("of-the-environment", "of-the-file"):
            assert client.get("/v1/model", headers={"x-api-key": key}).status_code == 200
        guesses = [client.get("/v1/model", headers={"x-api-key": str(i)}).status_code for i in range(5)]
        assert guesses == [401, 401, 401, 429, 429], "guesses are counted by where they come from"
    with TestClient(create_app(backend)) as client:
        assert client.get("/v1/model").status_code == 401
        assert client.get("/v1/model", headers={"x-api-key": "of-the-environment"}).status_code == 200


def test_other_pages_may_call_it_only_where_they_are_named(backend):
    asking = {"origin": "https://friends.example", "access-control-request-method": "POST"}
    with TestClient(create_app(backend, ServiceConfig(origins=("https://friends.example",)))) as client:
        assert client.options("/v1/captions", headers=asking).headers["access-control-allow-origin"] == asking["origin"]
        other = client.get("/v1/model", headers={"origin": "https://others.example"})
        assert "access-control-allow-origin" not in other.headers


def test_the_document_of_the_interface(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    paths = document["paths"]
    assert {"/v1/captions", "/v1/memes", "/v1/render", "/v1/look", "/v1/model", "/v1/templates"} <= set(paths)
    asked = {one["name"]: one for one in paths["/v1/memes"]["post"]["parameters"]}
    assert {"beam", "seed", "prefix", "n", "format"} <= set(asked)
    beam = next(one for one in asked["beam"]["schema"]["anyOf"] if one.get("type") == "integer")
    assert (beam["minimum"], beam["maximum"]) == (1, 64)
    assert set(paths["/v1/captions"]["post"]["responses"]) == {
        *("200", "400", "401", "408", "413", "415", "422", "429", "500", "503")
    }
    written = paths["/v1/templates/{key}/render"]["post"]["requestBody"]["content"]
    assert written["application/json"]["schema"]["$ref"] == "#/components/schemas/ToWrite"
    assert set(paths["/v1/render"]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
