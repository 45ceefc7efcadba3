"""Pictures a second from a folder of them to what a training reads, beside Hugging Face `datasets` and plain tf.data.

    python -m benchmarks.ingest [--data DIR] [--pictures N] [--install-datasets] [--memory 2000 20000]

Three ways take the same pictures and captions in turn, each in a process of its own; medians count, starting up and
imports do not. `datasets` reads the folder as an imagefolder and saves it as Arrow, pictures embedded; the tf.data
script reads file after file and writes TFRecords of Examples. Neither looks at a picture. Ours is CaptionExampleGen,
which decodes each one, cleans captions, meets what is the same, parts and counts; and, beside it, `memefly import`,
which looks at as little as they do. With `--memory`, drawn pictures in these numbers go as far as Transform, with
features that are there already: the peak of resident memory and the cost of a picture. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from memefly import provenance
from memefly.datasets import records, sample

# Each is a program of its own: what it prints last is its seconds.
_DATASETS = """
import sys, time
import datasets
datasets.disable_progress_bars()
folder, out = sys.argv[1:]
start = time.perf_counter()
loaded = datasets.load_dataset("imagefolder", data_dir=folder, split="train", cache_dir=out + "/cache")
loaded.save_to_disk(out + "/arrow")
print(time.perf_counter() - start)
"""
_TF_DATA = """
import json, sys, time
import tensorflow as tf
folder, out = sys.argv[1:]
with open(folder + "/metadata.jsonl", encoding="utf-8") as file:
    rows = [json.loads(line) for line in file]
def feature(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
start = time.perf_counter()
paths = tf.data.Dataset.from_tensor_slices([folder + "/" + row["file_name"] for row in rows])
pictures = paths.map(tf.io.read_file, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
with tf.io.TFRecordWriter(out + "/data.tfrecord") as writer:
    for row, picture in zip(rows, pictures.as_numpy_iterator()):
        features = {"image": feature(picture), "captions": feature(*(c.encode() for c in row["text"]))}
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
print(time.perf_counter() - start)
"""
_IMPORT = """
import sys, time
from pathlib import Path
from memefly.datasets.formats import bring
folder, out = sys.argv[1:]
start = time.perf_counter()
bring("table", Path(folder), Path(out) / "data")
print(time.perf_counter() - start)
"""
_INGEST = """
import sys, time
from pipeline import config, local_runner
data, out = sys.argv[1:]
summary = local_runner.run(config.load(None, ["encoder.weights=random"]), data, out, to_node="CaptionExampleGen")
print(summary.components[0]["seconds"])
"""
_TRANSFORM = """
import os, sys, threading, time
from pipeline import config, local_runner
data, out = sys.argv[1:]
most, page = [0], os.sysconf("SC_PAGE_SIZE")
def watch():
    while True:
        pids, found = [os.getpid()], 0
        while pids:
            pid = pids.pop()
            try:
                found += int(open(f"/proc/{pid}/statm").read().split()[1]) * page
                pids += map(int, open(f"/proc/{pid}/task/{pid}/children").read().split())
            except OSError:
                pass
        most[0] = max(most[0], found)
        time.sleep(0.5)
threading.Thread(target=watch, daemon=True).start()
settings = ["encoder.weights=" + os.environ["ENCODER"], "text.min_count=1"]
configuration = config.load("tiny", settings)
start = time.perf_counter()
summary = local_runner.run(configuration, data, out, to_node="Transform")
print({"seconds": time.perf_counter() - start, "megabytes": most[0] >> 20, "features": summary.features,
       "components": {node["name"]: node["seconds"] for node in summary.components if node["state"] == "ran"}})
"""


@contextlib.contextmanager
def datasets_python(install: bool) -> Iterator[str | None]:
    """A Python that can import `datasets`, if one may be made; it is removed again."""
    if not install:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="datasets-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        command = [python, "-m", "pip", "install", "--quiet", "datasets", "pillow"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        yield python


def run(python: str, program: str, *arguments: str, **environment: str) -> str:
    """The last line that a program prints."""
    done = subprocess.run(
        [python, "-c", program, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{done.stderr[-3000:]}\nit failed; what it said is above")
    return done.stdout.strip().splitlines()[-1]


def image_folder(data: Path, out: Path, pictures: int) -> int:
    """Some of a canonical data set as an imagefolder, its pictures linked; how many."""
    (out / "train").mkdir(parents=True)
    count = 0
    with (out / "train" / "metadata.jsonl").open("w", encoding="utf-8") as lines:
        for line in records.read_lines(data):
            record = records.parse(line)
            name = Path(record.image).name
            if count == pictures or (out / "train" / name).exists():
                continue
            os.link(data / record.image, out / "train" / name)
            lines.write(json.dumps({"file_name": name, "text": list(record.captions)}) + "\n")
            count += 1
    return count


def canonical(folder: Path, out: Path) -> None:
    """The same pictures as a canonical data set, linked."""
    (out / "images").mkdir(parents=True)
    with (out / records.CAPTIONS_FILE).open("w", encoding="utf-8") as lines:
        for line in (folder / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            os.link(folder / "train" / row["file_name"], out / "images" / row["file_name"])
            lines.write(json.dumps({"image": f"images/{row['file_name']}", "captions": row["text"]}) + "\n")


def memory(pictures: int, encoder: Path, home: Path) -> dict:
    """What it takes to bring drawn pictures as far as Transform when their features are there."""
    data, root = home / f"data-{pictures}", home / f"root-{pictures}"
    sample.generate(data, images=pictures, seed=1)
    run(sys.executable, _TRANSFORM, str(data), str(root), ENCODER=str(encoder))
    shutil.rmtree(root / "artifacts")
    (root / "metadata.sqlite").unlink()
    said = json.loads(run(sys.executable, _TRANSFORM, str(data), str(root), ENCODER=str(encoder)).replace("'", '"'))
    if said["features"] != {"computed": 0, "reused": pictures}:
        raise SystemExit(f"the store was not warm: {said['features']}")
    shutil.rmtree(root)
    shutil.rmtree(data)
    return said | {"milliseconds_a_picture": round(1000 * said["seconds"] / pictures, 2)}


def small_encoder(path: Path) -> Path:
    import tf_keras

    x = inputs = tf_keras.Input((64, 64, 3))
    for filters in (16, 24, 32):
        x = tf_keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    tf_keras.Model(inputs, x).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a canonical data set (drawn pictures)")
    parser.add_argument("--pictures", type=int, default=2000, help="of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--install-datasets", action="store_true", help="put it into a temporary folder for this run")
    parser.add_argument("--memory", type=int, nargs="*", default=[], metavar="N", help="as far as Transform, by number")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingest-", dir=arguments.data and arguments.data.parent) as home_:
        home = Path(home_)
        data = arguments.data or home / "drawn"
        if arguments.data is None:
            sample.generate(data, images=arguments.pictures, seed=0)
        count = image_folder(data, home / "folder", arguments.pictures)
        canonical(home / "folder", home / "data")
        folder = str(home / "folder" / "train")
        paces: dict[str, list[float]] = {}
        with datasets_python(arguments.install_datasets) as python:
            programs = {
                "tf_data": (sys.executable, _TF_DATA, folder),
                "import": (sys.executable, _IMPORT, folder),
                "ingest": (sys.executable, _INGEST, str(home / "data")),
            }
            if python:
                programs["datasets"] = (python, _DATASETS, str(home / "folder"))
            for round_ in range(arguments.rounds):
                for name, (interpreter, program, source) in programs.items():
                    out = home / "out"
                    out.mkdir()
                    took = float(run(interpreter, program, source, str(out), HF_DATASETS_OFFLINE="1"))
                    paces.setdefault(name, []).append(count / took)
                    shutil.rmtree(out)
                print(f"{round_ + 1}/{arguments.rounds}", {n: round(p[-1], 1) for n, p in paces.items()}, flush=True)
        taken = {}
        if arguments.memory:
            encoder = small_encoder(home / "encoder.h5")
            for number in arguments.memory:
                taken[number] = memory(number, encoder, home)
                print(number, taken[number], flush=True)
    medians = {name: statistics.median(pace) for name, pace in paces.items()}
    fastest = max(medians[name] for name in ("tf_data", "datasets") if name in medians)
    result = {
        "name": "ingest",
        "pictures": count,
        "pictures_per_second": {name: round(pace, 1) for name, pace in medians.items()},
        "import_ratio": round(medians["import"] / fastest, 3),
        "ingest_ratio": round(medians["ingest"] / fastest, 3),
        "memory": taken,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "rounds": arguments.rounds,
        "commit": provenance.git_commit(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
