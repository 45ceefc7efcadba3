"""Uploads of the pictures in `pictures` and `bombs`, and of broken forms, to the service: what is a picture is taken,
what is none is refused, and nothing is fatal."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from stress import bombs, pictures

PATHS = ("/v1/captions", "/v1/memes?size=64", "/v1/render", "/v1/look?caption=a")


@contextlib.contextmanager
def service() -> Iterator:
    from starlette.testclient import TestClient

    sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
    from told import Told

    from memefly.serving.service import create_app

    with TestClient(create_app(Told()), raise_server_exceptions=False) as client:
        yield client


def outcome(seed: int, client) -> str:
    """ "right", or the reason. Raises `AssertionError` where a picture was refused, or something else accepted."""
    drawer = random.Random(seed)
    names = sorted(bombs.BOMBS)
    if seed % 100 == 99:
        name = names[seed // 100 % len(names)]
        made, expected = pictures.Made(name, bombs.BOMBS[name]()), None
    else:
        made = pictures.draw(seed)
        expected = pictures.outcome(made)[0]
    path = drawer.choice(PATHS)
    if drawer.random() < 0.2:
        return broken_form(drawer, made.data, path, client)
    if path == "/v1/render":
        form = {"data": {"meme": json.dumps({"texts": ["a"], "size": 64})}, "files": {"picture": ("a", made.data)}}
        answer = client.post(path, **form)
    else:
        answer = client.post(
            path, content=made.data, headers={"content-type": drawer.choice(("image/png", "text/html", ""))}
        )
    said = reason_of(answer)
    assert answer.status_code in (200, 400, 413, 422), (made.what, path, answer.status_code, answer.text[:300])
    if expected == "right":
        assert said == "right", (made.what, path, said)
    elif expected is not None:
        assert said != "right", (made.what, path, expected)
    return said


def broken_form(drawer: random.Random, data: bytes, path: str, client) -> str:
    """A form whose bytes were tampered with: whatever it is taken for, it is answered."""
    body = bytearray(
        b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\nContent-Type: image/png\r\n\r\n'
        + data[:50_000] + b'\r\n--b\r\nContent-Disposition: form-data; name="meme"\r\n\r\n{"texts": []}\r\n--b--\r\n'
    )  # fmt: skip
    for _ in range(drawer.randint(1, 12)):
        place = drawer.randrange(min(len(body), 400)) * (1 if drawer.random() < 0.5 else -1)
        body[place] = drawer.randrange(256)
    kind = drawer.choice(
        ("multipart/form-data; boundary=b", "multipart/form-data", "multipart/form-data; boundary=\xff")
    )
    answer = client.post(path, content=bytes(body), headers={"content-type": kind.encode("latin-1")})
    assert answer.status_code in (200, 400, 413, 415, 422), (path, answer.status_code, answer.text[:300])
    return reason_of(answer)


def reason_of(answer) -> str:
    if answer.status_code == 200:
        return "right"
    said = answer.json()
    return said["error"]["reason"] if "error" in said else said["results"][0]["error"]["reason"]
