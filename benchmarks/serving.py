"""Serving: load, first request, latency of each precision and setting, throughput with and without batches, memory.

    memefly export --model root/serving/captioner --out small --precision int8 --data data/flickr8k
    memefly export --model root/serving/captioner --out lite --precision fp32 --data data/flickr8k
    memefly export --model root/serving/captioner --out half --precision bf16 --data data/flickr8k
    python -m benchmarks.serving --model root/serving/captioner --smaller small lite half --pictures FOLDER

The peer is what the original memefly told of itself: 9 s to load, 5.8 s for the first picture, 0.4 s for the others; a
quantised encoder a quarter the size and 4.5 times slower. Every model is loaded in a process of its own. Latency is
from a picture's bytes to its caption, with the model's own search; precisions and settings take turns, picture by
picture. Settings are what a deployment may choose: threads, and oneDNN. `differ`: of how many pictures a form says
another caption than the model that it was made of.

Throughput is `memefly serve` on this machine's loopback, `--clients` at a time, each sending the next picture when it
has the last one's caption; with batches and without, with one call of the model at a time and with two. The ways take
turns, `--rounds` times over, since a shared machine is faster at one time than at another; the rate told is the median
of the rounds, and so is the 95th percentile. Memory is the server's resident size.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from memefly import images, provenance
from memefly.exported.manifest import is_lite, newest_version, read_manifest
from memefly.exported.warmup import LARGEST_BATCH

PEER = {"load_s": 9.0, "first_s": 5.8, "later_s": 0.4}

# A process with one model: loads and warms it, then captions the picture that each line on standard input names; or
# runs the encoder alone as often.
_WORKER = """
import json, sys, time
started = time.perf_counter()
from memefly import images
from memefly.exported.warmup import LARGEST_BATCH
from memefly.exported import loading
from memefly.exported.manifest import newest_version
from memefly.exported.manifest import read_manifest
from pathlib import Path
imported = time.perf_counter()
model = loading.load(sys.argv[1])
loaded = time.perf_counter()
model.warm_up()
if sys.argv[2:] == ["encoder"]:
    import tensorflow as tf
    pixels = tf.zeros([1, *model.manifest["encoder"]["image_size"], 3])
    run = lambda data: [model.encode(pixels).numpy(), ""][1]
    [run(None) for _ in range(3)]
else:
    run = lambda data: model.predict([images.canonical(data).data])["caption"][0].decode()
print(imported - started, loaded - imported, time.perf_counter() - loaded, flush=True)
for line in sys.stdin:
    data = Path(line.rstrip("\\n")).read_bytes()
    started = time.perf_counter()
    said = run(data)
    print(time.perf_counter() - started, json.dumps(said), flush=True)
"""


# What a deployment may set, in the environment: deploy/README.md says which it does, for what is measured here.
SETTINGS = {
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "1 thread": {"TF_NUM_INTRAOP_THREADS": "1"},
    "twice the threads": {"TF_NUM_INTRAOP_THREADS": str(2 * (os.cpu_count() or 1))},
    "1 operation at a time": {"TF_NUM_INTEROP_THREADS": "1"},
}


class Worker:
    def __init__(self, folder: Path, setting: Mapping[str, str] | None = None, part: Sequence[str] = ()):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(folder), *part],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
            env={**os.environ, **(setting or {})},
        )  # fmt: skip
        self.import_s, self.load_s, self.warm_up_s = (float(x) for x in self._line().split())
        self.said: dict[Path, str] = {}

    def _line(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a model's process ended; load it with `memefly caption` to see why")
        return line

    def seconds(self, picture: Path) -> float:
        self._process.stdin.write(f"{picture}\n")
        seconds, _, self.said[picture] = self._line().partition(" ")
        return float(seconds)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


class Server:
    """`memefly serve` on a free port, which turns nobody away unless `arguments` say so; `log` is where its lines of
    JSON go."""

    def __init__(self, folder: Path, largest_batch: int, *arguments: str, log: int | IO = subprocess.DEVNULL):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "memefly", "serve", "--model", str(folder), "--port", str(port)]
        command += ["--largest-batch", str(largest_batch), "--rate", "0", "--at-once", "1000"]
        command += ["--patience", "0", *arguments]
        self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        import httpx

        for _ in range(600):
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise SystemExit("the server did not get ready")

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def requests(url: str, pictures: Sequence[bytes], clients: int, total: int) -> tuple[float, list[float]]:
    """`total` requests by `clients` at once: how many a second, and the seconds of each."""
    import httpx

    turns, seconds = iter(range(total)), []
    lock = threading.Lock()

    def client() -> None:
        with httpx.Client(base_url=url, timeout=120) as http:
            while True:
                with lock:
                    turn = next(turns, None)
                if turn is None:
                    return
                started = time.perf_counter()
                http.post("/v1/captions", content=pictures[turn % len(pictures)]).raise_for_status()
                seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    [t.start() for t in threads]
    [t.join() for t in threads]
    return total / (time.perf_counter() - started), seconds


def size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def milliseconds(seconds: Sequence[float]) -> str:
    low, middle, high = 1e3 * np.percentile(seconds, [10, 50, 90])
    return f"{middle:6.1f} ms (10 % below {low:.1f}, 10 % above {high:.1f})"


def in_turns(workers: Mapping[str, Worker], paths: Sequence[Path], requests: int) -> dict[str, float]:
    """Median milliseconds of each, every picture by all of them before the next; the workers are closed."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for i in range(requests + 10):
        for name, worker in workers.items():
            taken = worker.seconds(paths[i % len(paths)])
            if i >= 10:
                seconds[name].append(taken)
    for name, worker in workers.items():
        worker.close()
        print(f"{name:<22} {milliseconds(seconds[name])}")
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def under_load(
    ways: Mapping[str, tuple[Path, int, int]], pictures: Sequence[bytes], arguments: argparse.Namespace
) -> dict[str, dict[int, dict[str, float]]]:
    """By way and number of clients, requests a second and the 95th percentile of their milliseconds."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = {name: {} for name in ways}
    for _ in range(arguments.rounds):
        for name, (folder, largest, callers) in ways.items():
            server = Server(folder, largest, "--callers", str(callers))
            requests(server.url, pictures, 4, 20)
            for clients in arguments.clients:
                rate, taken = requests(server.url, pictures, clients, arguments.load_requests)
                found[name].setdefault(clients, []).append((rate, 1e3 * float(np.percentile(taken, 95))))
            server.close()
    told: dict[str, dict[int, dict[str, float]]] = {}
    for name, by_clients in found.items():
        told[name] = {}
        for clients, rounds in by_clients.items():
            rate, p95 = (statistics.median(values) for values in zip(*rounds))
            told[name][clients] = {"a_second": round(rate, 2), "p95_ms": round(p95)}
            print(f"{name:<36} {clients:>2} clients {rate:6.2f} a second, 95 % within {p95:5.0f} ms")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="a SavedModel that the pipeline exported")
    parser.add_argument("--smaller", type=Path, nargs="+", default=[], help="what `memefly export` made of it")
    parser.add_argument("--pictures", required=True, type=Path, help="a folder of pictures")
    parser.add_argument("--starts", type=int, default=5, help="fresh processes, for load and first request")
    parser.add_argument("--requests", type=int, default=200, help="for latency, of each precision")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--load-requests", type=int, default=160, help="for each number of clients")
    parser.add_argument("--rounds", type=int, default=3, help="of all ways under load")
    parser.add_argument("--memory-requests", type=int, default=0, help="such as 10000; compared with memory after 100")
    arguments = parser.parse_args()

    paths = sorted(p for p in arguments.pictures.iterdir() if p.is_file())[:200]
    if not paths:
        parser.error(f"no pictures in {arguments.pictures}")
    pictures = [images.read(path).data for path in paths[:50]]
    folders = {"fp32": newest_version(arguments.model)}
    for smaller in arguments.smaller:
        folder = newest_version(smaller)
        manifest = read_manifest(folder)
        folders[manifest["precision"] + (" LiteRT" if is_lite(manifest) else "")] = folder
    result: dict = {"name": "serving", "commit": provenance.git_commit(), "pictures": len(paths), "peer": PEER}

    starts = []
    for i in range(arguments.starts):
        worker = Worker(folders["fp32"])
        first, *later = [worker.seconds(paths[(i + j) % len(paths)]) for j in range(21)]
        starts.append((worker.import_s, worker.load_s + worker.warm_up_s, first, first / statistics.median(later)))
        worker.close()
    imports, load, first, ratio = (statistics.median(values) for values in zip(*starts))
    result |= {
        "import_s": round(imports, 2),
        "load_s": round(load, 2),
        "first_ms": round(1e3 * first, 1),
        "first_over_median": round(ratio, 2),
    }
    print(f"imports {imports:.2f} s, load and warm-up {load:.2f} s")
    print(f"first request {1e3 * first:.0f} ms, {ratio:.2f} times the median of the next")

    forms = {name: Worker(folder) for name, folder in folders.items()}
    forms["fp32, encoder alone"] = Worker(folders["fp32"], part=["encoder"])
    medians = in_turns(forms, paths, arguments.requests)
    of = forms["fp32"].said
    result["differ"] = {
        name: f"{sum(one.said[path] != said for path, said in of.items())} of {len(of)}"
        for name, one in forms.items()
        if name not in ("fp32", "fp32, encoder alone")
    }
    print(f"another caption than the model: {result['differ']}")
    result["encoder_ms"] = round(medians.pop("fp32, encoder alone"), 1)
    for name, folder in folders.items():
        print(f"{name:<5} {size(folder) / 1e6:.1f} MB")
    result |= {f"{name}_ms": round(ms, 1) for name, ms in medians.items()}
    result["best_ms"] = round(min(medians.values()), 1)
    settings = {"as it is": Worker(folders["fp32"])}
    settings |= {name: Worker(folders["fp32"], setting) for name, setting in SETTINGS.items()}
    result["settings_ms"] = {k: round(v, 1) for k, v in in_turns(settings, paths, arguments.requests).items()}
    result["speedup"] = {name: round(medians["fp32"] / ms, 2) for name, ms in medians.items() if name != "fp32"}
    result["size_share"] = {name: round(size(one) / size(folders["fp32"]), 3) for name, one in folders.items()}

    ways = {
        f"{name}, batches of {largest}, {callers} at once": (folder, largest, callers)
        for name, folder in folders.items()
        for largest in ((1,) if "LiteRT" in name else (1, LARGEST_BATCH, 2 * LARGEST_BATCH))
        for callers in (1, 2)
    }
    result["load"] = under_load(ways, pictures, arguments)
    if arguments.memory_requests:
        server = Server(folders["fp32"], LARGEST_BATCH)
        requests(server.url, pictures, 4, 100)
        before = server.resident_mb()
        requests(server.url, pictures, 4, arguments.memory_requests - 100)
        after = server.resident_mb()
        server.close()
        result["memory_mb"] = {"after_100": round(before, 1), f"after_{arguments.memory_requests}": round(after, 1)}
        print(f"memory after 100 requests {before:.0f} MB, after {arguments.memory_requests} {after:.0f} MB")
    # The line's ratio: the original's milliseconds over ours.
    result |= {"ours": result["best_ms"], "unit": "ms, picture's bytes to caption"}
    result["ratio"] = round(1e3 * PEER["later_s"] / result["best_ms"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
