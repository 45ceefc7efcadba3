"""The service under load: what it adds to the bare model, and what it does with twice as much as it can.

    apt-get install wrk
    python -m benchmarks.app --model root/serving/captioner/1700000000 --pictures data/flickr8k/images

Latency is from a picture's bytes to its caption, of the model in this process and through `memefly serve` on loopback,
in turns, picture by picture: the median of the differences is what the service adds.

The load is wrk's. What the server can answer is measured first, with eight clients that ask again at once and nobody
turned away. Then, as the server is by default: one client alone; for `--seconds` twice as many requests as it can
answer, from 32 clients who each pause for a random time (exponential); and a storm, 32 clients that ask again at once
whatever they hear. What came of it is in the server's own log: milliseconds by status. Memory is the server's resident
size before, at its most, and after.

`--other` is a second version: it and the first take turns, every five seconds, as the newest one; each answer has to be
what the version that it names says of that picture.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving import Server
from memefly import images
from memefly.exported.manifest import newest_version, read_manifest, write_manifest
from memefly.exported.warmup import LARGEST_BATCH
from memefly.serving.settings import ServiceConfig

_LUA = """
local file = io.open("%s", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/octet-stream"
"""
_PAUSES = """
function delay() return math.min(4000, -%f * math.log(1 - math.random())) end
"""  # the server closes connections that are idle for five seconds, and wrk would ask at once over another one
_CLIENTS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--other", type=Path, metavar="DIR", help="another version, to change to and fro")
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    parser.add_argument("--requests", type=int, default=100, metavar="N")
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    paths = sorted(arguments.pictures.iterdir())[: arguments.requests]
    pictures = [path.read_bytes() for path in paths]
    result = {"added_ms": added(newest_version(arguments.model), pictures)}
    with tempfile.TemporaryDirectory() as folder:
        result["load"] = load(newest_version(arguments.model), paths[0], arguments.seconds, Path(folder))
        if arguments.other:
            result["changing"] = changing(arguments, pictures[:16], Path(folder))
    print(json.dumps(result))


def added(folder: Path, pictures: Sequence[bytes]) -> dict[str, float]:
    from memefly.serving.local_model import LocalModel

    bare, server = LocalModel(folder), Server(folder, LARGEST_BATCH)
    times: dict[str, list[float]] = {"bare": [], "service": []}
    client = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)  # the leanest at hand
    client.connect()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i, data in enumerate([*pictures[:5], *pictures]):  # the first five warm both up
        plain = images.canonical(data).data
        started = time.perf_counter()
        bare.caption(plain, {})
        between = time.perf_counter()
        client.request("POST", "/v1/captions", data, {"Content-Type": "application/octet-stream"})
        answer = client.getresponse()
        said, ended = answer.read(), time.perf_counter()
        if answer.status != 200:
            raise SystemExit(f"the service answers {answer.status}: {said[:200]!r}")
        if i >= 5:
            times["bare"].append(between - started)
            times["service"].append(ended - between)
    client.close()
    server.close()
    bare.close()
    told = {name: round(1000 * statistics.median(seconds), 1) for name, seconds in times.items()}
    differences = [b - a for a, b in zip(times["bare"], times["service"])]
    return told | {"added": round(1000 * statistics.median(differences), 1)}


def load(folder: Path, picture: Path, seconds: int, work: Path) -> dict:
    asking, pausing, log = work / "post.lua", work / "pausing.lua", work / "log"
    asking.write_text(_LUA % picture)
    with log.open("w") as stream:
        server = Server(folder, LARGEST_BATCH, log=stream)
        _wrk(server.url, asking, 8, 15)
        server.close()
    capacity = len(_times(log)[200]) / 15
    pausing.write_text(_LUA % picture + _PAUSES % (1000 * _CLIENTS / (2 * capacity)))
    found: dict[str, Any] = {"capacity_a_second": round(capacity, 2)}
    with log.open("w") as stream:
        server = Server(folder, LARGEST_BATCH, "--patience", str(ServiceConfig().patience), log=stream)
        _wrk(server.url, asking, 1, 10)
        median = statistics.median(_taken(log)[200])
        found["unloaded_ms"] = median
        memory, ended = [server.resident_mb()], threading.Event()

        def watch() -> None:
            while not ended.wait(0.5):
                memory.append(server.resident_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        for name, script, clients, lasting in (
            ("twice", pausing, _CLIENTS, seconds),
            ("storm", asking, 32, seconds // 3),
        ):
            _wrk(server.url, script, clients, lasting)
            times = _taken(log)
            p95 = statistics.quantiles(times[200], n=20)[-1]
            found[name] = {
                "asked_a_second": round(sum(map(len, times.values())) / lasting, 2),
                "accepted_a_second": round(len(times[200]) / lasting, 2),
                "by_status": {status: len(ms) for status, ms in times.items()},
                "accepted_ms": [round(statistics.median(times[200]), 1), round(p95, 1)],
                "p95_to_unloaded": round(p95 / median, 2),
            }
        ended.set()
        watcher.join()
        memory.append(server.resident_mb())
        server.close()
    return found | {"memory_mb": [round(x) for x in (memory[0], max(memory), memory[-1])]}


def _wrk(url: str, script: Path, clients: int, seconds: int) -> None:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    subprocess.run([*command, f"{url}/v1/captions"], stdout=subprocess.DEVNULL, check=True)


def _taken(log: Path) -> dict[int, list[float]]:
    """What `_times` has, which is forgotten then."""
    time.sleep(1)  # for what is still worked on
    found = _times(log)
    log.open("w").close()
    return found


def _times(log: Path) -> dict[int, list[float]]:
    """Milliseconds of requests, by status."""
    found: dict[int, list[float]] = {}
    for line in log.read_text().replace("\0", "").splitlines():
        said = json.loads(line)
        if said["path"] == "/v1/captions":
            found.setdefault(said["status"], []).append(said["ms"])
    return found


def changing(arguments, pictures: Sequence[bytes], work: Path) -> dict:
    """Versions 1, 2, 3, … are the two models by turns."""
    import httpx

    from memefly.exported import loading

    models = [newest_version(arguments.model), newest_version(arguments.other)]
    plain = [images.canonical(data).data for data in pictures]
    says = [[row[0].text for row in loading.load(model).caption(plain)] for model in models]
    root, number = work / "versions", 0

    def push() -> None:
        nonlocal number
        number += 1
        copied = root / f".{number}"
        shutil.copytree(models[number % 2], copied)
        write_manifest(copied, {**read_manifest(copied), "version": number})
        copied.rename(root / str(number))
        for old in root.iterdir():
            if old.name.isdecimal() and int(old.name) < number - 2:
                shutil.rmtree(old)

    root.mkdir()
    push()
    server, ended = Server(root, LARGEST_BATCH), threading.Event()
    found: Counter[str] = Counter()

    def ask(start: int) -> None:
        i = start
        with httpx.Client(base_url=server.url, timeout=60) as http:
            while not ended.is_set():
                answer = http.post("/v1/captions", content=pictures[i % len(pictures)])
                if answer.status_code == 200:
                    said = answer.json()
                    right = says[said["model"]["version"] % 2][i % len(pictures)]
                    found["right" if said["results"][0]["captions"][0]["caption"] == right else "wrong"] += 1
                    found[f"version {said['model']['version']}"] += 1
                else:
                    found[f"status {answer.status_code}"] += 1
                i += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    [thread.start() for thread in threads]
    until = time.monotonic() + arguments.seconds
    while time.monotonic() < until:
        time.sleep(5)
        push()
    ended.set()
    [thread.join() for thread in threads]
    server.close()
    versions = [name for name in found if name.startswith("version")]
    kept = {name: count for name, count in found.items() if not name.startswith("version")}
    return {"pushed": number, "versions_that_answered": len(versions), "answers": kept}


if __name__ == "__main__":
    main()
