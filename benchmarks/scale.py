"""What each stage takes at 1,000, 4,000 and 16,000 pictures: time, memory and bytes, on one worker and on two.

    python -m benchmarks.scale [--pictures 1000 4000 16000] [--workers 1 2] [--keep FOLDER]
    python -m benchmarks.scale --pictures 200 800 --nodes CaptionExampleGen ImageFeatures --inception --threads 1

Drawn pictures with five captions each, a small convolutional encoder of random weights (299 x 299 to 8 x 8 x 32, so
that decoding and scaling are what they are with a large one), a small network, one epoch. Each stage runs in a process
of its own: the stages before it are cached. Seconds are the component's own, memory the peak of the process and
what it starts, bytes what stands in the artifacts and in the store afterwards. What a stage takes to begin
with does not grow; so a picture's cost is told twice, as a whole and as what each further picture adds. Two workers are
two processes of Beam's (`--direct_running_mode=multi_processing`), on as many cores. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from memefly import provenance
from memefly.datasets import sample

NODES = ("CaptionExampleGen", "ImageFeatures", "StatisticsGen", "Transform", "Trainer", "Evaluator")
_ENCODER = """
import sys, tf_keras as keras
layers = keras.layers
keras.utils.set_random_seed(0)
keras.Sequential([
    layers.Input((299, 299, 3)), layers.AveragePooling2D(9), layers.Conv2D(16, 5, strides=2, activation="relu"),
    layers.Conv2D(32, 7, activation="relu"),
]).save(sys.argv[1])
"""
_RECIPE = {
    "network": {"embedding": 64, "units": 64, "attention_units": 64},
    "training": {"epochs": 1, "val_pictures": 100},
    "text": {"min_count": 1},
    "decoding": {"beam": 1},
    "gate": {"floors": {}, "ceilings": {}, "regressions": {}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--nodes", nargs="+", default=list(NODES), choices=NODES)
    parser.add_argument("--inception", action="store_true", help="InceptionV3 of random weights is the encoder")
    parser.add_argument("--threads", type=int, help="of TensorFlow in each worker (as many as cores)")
    parser.add_argument("--keep", type=Path, help="leave what was drawn and made in this folder, and go on from there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        encoder = folder / "encoder.h5"
        if not encoder.exists():
            subprocess.run([sys.executable, "-c", _ENCODER, str(encoder)], check=True, stderr=subprocess.DEVNULL)
        (folder / "recipe.yaml").write_text(json.dumps({"preset": "tiny", **_RECIPE}))
        weights = "random" if arguments.inception else str(encoder)
        if arguments.threads:
            for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
                os.environ[name] = str(arguments.threads)
        rows = []
        for pictures in arguments.pictures:
            data = folder / f"data-{pictures}"
            if not data.exists():
                sample.generate(data, images=pictures)
            for workers in arguments.workers:
                root = folder / f"root-{pictures}-{workers}"
                for node in arguments.nodes:
                    row = {
                        "pictures": pictures,
                        "workers": workers,
                        **measure(node, data, root, folder, workers, weights),
                    }
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    for line in table(rows):
        print(line)
    print(json.dumps({"benchmark": "scale", "commit": provenance.git_commit(), "cores": os.cpu_count(), "rows": rows}))


def measure(node: str, data: Path, root: Path, folder: Path, workers: int, weights: str) -> dict:
    """Runs the pipeline as far as a node, all before which is cached."""
    beam = [
        "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
        "--direct_running_mode=in_memory" if workers == 1 else "--direct_running_mode=multi_processing",
        f"--direct_num_workers={workers}",
    ]
    before = _bytes(root)
    command = [
        sys.executable, "-m", "pipeline.command", "run", "--data", str(data), "--root", str(root), "--to", node,
        "--config", str(folder / "recipe.yaml"), "--set", f"encoder.weights={weights}",
        "--set", f"beam={json.dumps(beam)}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = _Peak(process.pid)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(said)
    summary = json.loads((root / "runs" / "latest" / "summary.json").read_text())
    (seconds,) = (one["seconds"] for one in summary["components"] if one["name"] == node and one["state"] == "ran")
    return {"node": node, "seconds": seconds, "mib": peak.stop(), "bytes": _bytes(root) - before}


class _Peak:
    """Of the memory of a process and all that it started, in MiB, looked at a few times a second. What they share
    counts once (the kernel's proportional set size), as it would not in a sum of resident sizes."""

    def __init__(self, pid: int):
        self._pid, self._mib, self._over = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return round(self._mib, 1)

    def _look(self) -> None:
        while not self._over.wait(0.3):
            self._mib = max(self._mib, sum(_proportional(pid) for pid in _family(self._pid)) / 1024)


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # ended meanwhile
    return found


def _proportional(pid: int) -> int:
    """KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _bytes(root: Path) -> int:
    """In artifacts and the store."""
    return sum(
        path.stat().st_size for top in ("artifacts", "features") for path in (root / top).rglob("*") if path.is_file()
    )


def table(rows: list[dict]) -> list[str]:
    lines = [
        "| stage | workers | pictures | s | ms a picture | each further | MiB | KiB each further | bytes a picture |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for node in NODES:
        for workers in sorted({row["workers"] for row in rows}):
            mine = [row for row in rows if row["node"] == node and row["workers"] == workers]
            for before, row in zip([None, *mine], mine):
                n, more = row["pictures"], ("", "")
                if before:
                    further = n - before["pictures"]
                    more = (
                        f"{1000 * (row['seconds'] - before['seconds']) / further:.2f}",
                        f"{1024 * (row['mib'] - before['mib']) / further:.1f}",
                    )
                lines.append(
                    f"| {node} | {workers} | {n} | {row['seconds']:.1f} | {1000 * row['seconds'] / n:.2f} | "
                    f"{more[0]} | {row['mib']:.0f} | {more[1]} | {row['bytes'] / n:.0f} |"
                )
    return lines


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
