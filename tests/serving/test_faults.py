"""What callers see while TensorFlow Serving is slow, answers rubbish, hangs up, restarts and changes versions, all at
once and under load: captions of their own pictures, or 503 with a reason; and captions again as soon as it is well."""

import asyncio
import io
import random
import time
from collections import Counter

import httpx
import pytest
from moody import MOODS, MoodyGrpc, MoodyRest, words
from PIL import Image

from memefly.serving.service import create_app
from memefly.serving.settings import ServiceConfig
from memefly.serving.tf_serving import TensorFlowServing

pytestmark = [pytest.mark.once, pytest.mark.slow]
SECONDS, CLIENTS = 8, 8


def picture(i: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (i, 255 - i, 7 * i % 256)).save(out, format="PNG")
    return out.getvalue()


PICTURES = [picture(i) for i in range(16)]


@pytest.mark.parametrize("kind", [MoodyGrpc, MoodyRest])
def test_moods_of_tensorflow_serving_under_load(kind):
    server = kind(seed=1)
    server.start()
    backend = TensorFlowServing(server.address, timeout=0.4)
    app = create_app(backend, ServiceConfig(patience=None))
    found, wrong = Counter(), []

    async def ask(client: httpx.AsyncClient, i: int) -> int:
        answer = await client.post("/v1/captions", content=PICTURES[i])
        said = answer.json()
        found[answer.status_code, said["error"]["reason"] if "error" in said else ""] += 1
        if answer.status_code == 200:
            caption = said["results"][0]["captions"][0]["caption"]
            if caption != words(PICTURES[i], said["model"]["version"]):
                wrong.append((i, said))
        elif "detail" not in said["error"] or "retry-after" not in answer.headers:
            wrong.append((i, said))
        return answer.status_code

    async def keep_asking(client: httpx.AsyncClient, seed: int, until: float) -> None:
        drawn = random.Random(seed)
        while time.monotonic() < until:
            await ask(client, drawn.randrange(len(PICTURES)))

    async def moods(until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(0.7)
            server.version += 1
            await asyncio.sleep(0.7)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.3)
            server.version += 1
            server.start()

    async def whole() -> tuple[float, list[int]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            until = time.monotonic() + SECONDS
            await asyncio.gather(moods(until), *(keep_asking(client, i, until) for i in range(CLIENTS)))
            server.moody, well = False, time.monotonic()
            while await ask(client, 0) != 200:
                assert time.monotonic() < well + 10, found
                await asyncio.sleep(0.1)
            return time.monotonic() - well, [await ask(client, i % 16) for i in range(50)]

    try:
        seconds, after = asyncio.run(whole())
    finally:
        server.stop()
        backend.close()
    assert not wrong, wrong[:3]
    assert set(server.seen) == set(MOODS)
    assert set(found) <= {(200, ""), (503, "no_model"), (503, "busy")} and all(n > 5 for n in found.values()), found
    assert set(after) == {200} and seconds < 5, found
