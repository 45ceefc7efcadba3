"""`make stress`: bad pictures, records, lists, archives and servers in bulk, and ROOTs that lack something.

    python tests/stress [--pictures N] [--records N] [--uploads N] [--first SEED] [--no-roots]

The last line says how many were tried, how many were right, what was quarantined and why, and that nothing crashed; the
exit status is 1 where something did. A seed makes the same input again: `stress.pictures.draw(SEED)`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TESTS = Path(__file__).parents[1]
if __name__ == "__main__":  # started as a folder, which puts itself on the path and not the folder above it
    sys.path[0] = str(TESTS)

from tqdm import tqdm  # noqa: E402

from stress import archives, bombs, pictures, records, servers, uploads  # noqa: E402


class Tally:
    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.crashed: list[str] = []
        self.slowest = (0.0, "")

    def attempt(self, what: str, outcome: Callable[[], str]) -> None:
        started = time.perf_counter()
        try:
            self.found[outcome()] += 1
        except Exception:
            self.crashed.append(what)
            print(f"\n{what}\n{traceback.format_exc()}", file=sys.stderr)
        self.slowest = max(self.slowest, (time.perf_counter() - started, what))


def exploded(name: str) -> str:
    made = pictures.Made(name, bombs.BOMBS[name]())
    return pictures.outcome(made)[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000, metavar="N")
    parser.add_argument("--records", type=int, default=10_000, metavar="N")
    parser.add_argument("--uploads", type=int, default=1000, metavar="N", help="to the service")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of the seeds")
    parser.add_argument("--no-roots", action="store_true", help="not the ROOTs, which take minutes")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.pictures)
    lines = range(arguments.first, arguments.first + arguments.records)
    files = lines[: len(lines) // 10]
    print(f"seeds: pictures {seeds.start} to {seeds.stop - 1}, records {lines.start} to {lines.stop - 1}")
    tally = Tally()
    pictures.outcome(pictures.draw(0))  # imports, and starts a decoder
    sys.stderr.flush()
    terminal, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)  # TensorFlow's decoders say there what they think of a JPEG
    sys.stderr = os.fdopen(terminal, "w", buffering=1)
    for seed in tqdm(seeds, "pictures", disable=None):
        tally.attempt(f"picture {seed}", lambda seed=seed: pictures.outcome(pictures.draw(seed))[0])
    for name in tqdm(bombs.BOMBS, "bombs", disable=None):
        tally.attempt(f"bomb {name}", lambda name=name: exploded(name))
    for seed in tqdm(lines, "records", disable=None):
        tally.attempt(f"record {seed}", lambda seed=seed: records.outcome(seed))
    with tempfile.TemporaryDirectory() as folder:
        for seed in tqdm(files, "lists and meme files", disable=None):
            tally.attempt(f"file {seed}", lambda seed=seed: records.imported(seed, Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        for seed in tqdm(files, "archives", disable=None):
            tally.attempt(f"archive {seed}", lambda seed=seed: archives.outcome(seed, Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        for seed in tqdm(files[: len(files) // 2], "servers", disable=None):
            tally.attempt(f"server {seed}", lambda seed=seed: servers.outcome(seed, Path(folder)))
    with uploads.service() as client:
        for seed in tqdm(range(arguments.first, arguments.first + arguments.uploads), "uploads", disable=None):
            tally.attempt(f"upload {seed}", lambda seed=seed: uploads.outcome(seed, client))
    if not arguments.no_roots:
        command = [sys.executable, "-m", "pytest", "-q", "--show-capture=no", str(TESTS / "e2e" / "test_root.py")]
        tally.attempt("ROOTs", lambda: "right" if subprocess.run(command).returncode == 0 else "wrong")
        tally.crashed += ["ROOTs"] * tally.found.pop("wrong", 0)
    quarantined = {reason: n for reason, n in sorted(tally.found.items()) if reason != "right"}
    told = {
        "tried": sum(tally.found.values()) + len(tally.crashed),
        "right": tally.found["right"],
        "quarantined": quarantined,
        "crashed": len(tally.crashed),
        "slowest": f"{tally.slowest[1]}, {tally.slowest[0]:.1f} s",
    }
    if tally.crashed:
        print("crashed:", ", ".join(tally.crashed[:20]))
    print(json.dumps(told))
    return 1 if tally.crashed else 0


if __name__ == "__main__":
    sys.exit(main())
