"""Beam's stages on an engine whose workers are other processes in another folder: Beam's own job service; Prism,
which shares no code with it, and Flink, where they are at hand."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2
from whole_run import HOME, command

from tests import ports
from tests.conftest import SHARED

BIN = Path(sys.executable).parent
PRISM = os.environ.get("MEMEFLY_PRISM") or shutil.which("prism") or str(SHARED / "tools" / "prism")
FLINK = os.environ.get("BEAM_FLINK_JOB_SERVER_JAR", "")
FREE_PORTS = ["--artifact-port=0", "--expansion-port=0"]
BEAM = tuple(int(part) for part in metadata.version("apache-beam").split(".")[:2])


@contextlib.contextmanager
def serving(kind: str, folder: Path):
    """A job server and a worker pool, each in a folder of its own and without what this process has around it; gives
    Beam's arguments for them and the pool's process."""
    job, pool = ports.free(2)
    servers = {
        "beam": [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "-p", str(job)],
        "prism": [PRISM, "-job_port", str(job)],
        "flink": ["java", "-jar", FLINK, "--flink-master=[local]", f"--job-port={job}", *FREE_PORTS],
        "pool": [str(BIN / "memefly"), "worker-pool", "--port", str(pool)],
    }
    started = []
    try:
        for name in (kind, "pool"):
            home = folder / name
            home.mkdir(parents=True)
            environment = {
                "PATH": os.environ["PATH"] if name == "flink" else os.defpath,
                "HOME": str(home),
                "TMPDIR": str(home),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            }
            with (home / "log").open("w") as log:
                arguments = {"cwd": home, "env": environment, "stdout": log, "stderr": subprocess.STDOUT}
                started.append(subprocess.Popen(servers[name], start_new_session=True, **arguments))
        for port in (job, pool):
            ports.wait(port, started, timeout=90)
        yield [
            "--runner=PortableRunner", f"--job_endpoint=localhost:{job}", "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool}",
        ], started[1]  # fmt: skip
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(
    params=[
        pytest.param("beam", marks=pytest.mark.once),
        pytest.param(
            "prism",
            marks=[
                pytest.mark.skipif(BEAM < (2, 73), reason=f"Beam {BEAM[0]}.{BEAM[1]}'s workers cannot talk to Prism"),
                pytest.mark.skipif(not Path(PRISM).is_file(), reason="no Prism: not in MEMEFLY_PRISM, nor on PATH"),
            ],
        ),
        pytest.param(
            "flink",
            marks=pytest.mark.skipif(
                not (Path(FLINK).is_file() and shutil.which("java")),
                reason="no Flink: BEAM_FLINK_JOB_SERVER_JAR names no jar of Beam's job server, or there is no Java",
            ),
        ),
    ]
)
def engine(request, tmp_path):
    with serving(request.param, tmp_path / "elsewhere") as (arguments, pool):
        yield request.param, arguments, pool


def examples(root: Path, node: str, key: str) -> dict[str, list[bytes]]:
    """Of each split, in the order of their bytes: engines write them in any."""
    (folder,) = (root / "artifacts" / node / key).iterdir()
    found = {}
    for split in sorted(folder.glob("Split-*")):
        files = sorted(map(str, split.iterdir()))
        records = tf.data.TFRecordDataset(files, "GZIP" if files[0].endswith(".gz") else "").as_numpy_iterator()
        parsed = (tf.train.Example.FromString(record) for record in records)
        found[split.name] = sorted(one.SerializeToString(deterministic=True) for one in parsed)
    return found


def statistics(root: Path) -> dict[str, str]:
    """By split and feature. Engines name features in any order, and add up what workers found in any: the last two
    digits of a float64 are nobody's."""
    (folder,) = (root / "artifacts" / "StatisticsGen" / "statistics").iterdir()
    found = {}
    for path in folder.rglob("*.pb"):
        (data,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes()).datasets
        for feature in data.features:
            said = re.sub(r"\d+\.\d{6,}(?:e[-+]\d+)?", lambda number: f"{float(number[0]):.13g}", str(feature))
            found[f"{path.parent.name}/{feature.path.step[0]}"] = said
    return found


def left(root: Path) -> dict:
    """What a run of the whole pipeline left, by the component that made it."""
    summary = json.loads((root / "runs" / "latest" / "summary.json").read_text())
    (graph,) = (root / "artifacts" / "Transform" / "transform_graph").iterdir()
    (told,) = (root / "artifacts" / "ImageFeatures" / "features").glob("*/features.json")
    (version,) = (path for path in (root / "serving" / "captioner").iterdir() if path.name.isdigit())
    store = {path.name: path.read_bytes() for path in (root / "features").rglob("*.f16")}
    return {
        "CaptionExampleGen": (examples(root, "CaptionExampleGen", "examples"), summary["data"]["digests"]),
        "StatisticsGen": statistics(root),
        "ImageFeatures": (examples(root, "ImageFeatures", "features"), told.read_bytes(), store),
        "Transform": (
            examples(root, "Transform", "transformed_examples"),
            (graph / "transform_fn" / "assets" / "captions").read_bytes(),
        ),
        "Trainer": json.loads((version / "memefly.json").read_text())["digest"],
        "Evaluator": {name: summary[name] for name in ("metrics", "intervals", "slices", "decisions")},
    }


def beam_set(arguments: list[str]) -> list[str]:
    return ["--set", f"beam={json.dumps(arguments)}"]


def run(memes, root, encoder, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(memes, root, encoder, *arguments), cwd=HOME, capture_output=True, text=True, timeout=900, check=False
    )


def test_it_makes_the_same_as_in_memory(engine, whole, memes, small_encoder, tmp_path):
    kind, arguments, _ = engine
    root = tmp_path / "root"
    done = run(memes, root, small_encoder, *beam_set(arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = left(whole.root), left(root)
    seconds = [
        {one["name"]: one["seconds"] for one in json.loads((of / "runs/latest/summary.json").read_text())["components"]}
        for of in (whole.root, root)
    ]
    print(f"\n{'':<18} {'in memory':>10} {kind:>8}  the same")
    for name, made in here.items():
        took = f"{seconds[0][name]:>8.1f} s {seconds[1][name]:>6.1f} s"
        print(f"{name:<18} {took}  {'yes' if there[name] == made else 'NO'}")
    for name, made in here.items():
        assert there[name] == made, name


def test_what_happened_on_a_worker_is_said_and_it_goes_on_from_there(engine, memes, small_encoder, tmp_path):
    _, arguments, pool = engine
    root, broken = tmp_path / "root", tmp_path / "broken.h5"
    there, slow = beam_set(arguments), ["--set", "encoder.batch_size=1", "--to", "ImageFeatures"]

    # Its own code fails: said as it would be here.
    broken.write_bytes(b"no model")
    done = run(memes, root, broken, *there, "--to", "ImageFeatures")
    print(done.stderr)
    assert done.returncode == 2 and done.stderr.startswith(f"memefly: {broken}")
    assert "Traceback" not in done.stderr and "ptransform" not in done.stderr

    # It is killed.
    started = subprocess.Popen(
        command(memes, root, small_encoder, *there, *slow), cwd=HOME, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not any((root / "features").rglob("*.f16")):
        assert started.poll() is None, started.communicate()
        time.sleep(0.01)
    workers = {pid for task in Path(f"/proc/{pool.pid}/task").iterdir() for pid in _children(task)}
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    _, said = started.communicate(timeout=120)
    print(said)
    assert workers and started.returncode == 1
    assert said.startswith("memefly: ImageFeatures failed on the engine at localhost:"), said
    assert "killed by SIGKILL" in said or "SDK worker disconnected" in said
    assert str(root / "runs") in said and "run.log" in said and "goes on from here" in said
    encoded = len(list((root / "features").rglob("*.f16")))
    assert 0 < encoded < 60, "it was killed in the middle"

    # And again, with nobody to kill it.
    done = run(memes, root, small_encoder, *slow)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((root / "runs" / "latest" / "summary.json").read_text())
    assert summary["features"]["reused"] >= encoded
    assert sum(summary["features"].values()) == 60
    assert summary["components"][0]["state"] == "cached"


def _children(task: Path) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(pid) for pid in (task / "children").read_text().split()]
    return []


@pytest.mark.once
def test_nobody_at_the_endpoint_is_said_in_seconds_before_anything_starts(memes, small_encoder, tmp_path):
    job, pool = ports.free(2)
    arguments = ["--runner=PortableRunner", f"--job_endpoint=localhost:{job}", "--environment_type=EXTERNAL"]
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import pipeline.local_runner"], cwd=HOME, capture_output=True, check=True)
    imported = time.monotonic()
    done = run(memes, tmp_path / "root", small_encoder, *beam_set(arguments))
    assert time.monotonic() - imported < 60 + (imported - started), "what it imports takes long on a busy machine"
    assert done.returncode == 1
    assert done.stderr.startswith(f"memefly: no job server of Beam answers at localhost:{job}: nothing took the call")
    assert "[ 1/" not in done.stdout
    doctor = subprocess.run(
        [BIN / "memefly", "doctor", "--job-endpoint", f"localhost:{job}", "--worker-pool", f"localhost:{pool}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert doctor.returncode == 1
    assert f"wrong  beam       no job server of Beam answers at localhost:{job}" in doctor.stdout
    assert f"wrong  beam       no worker pool answers at localhost:{pool}" in doctor.stdout
