"""Pictures a second through the encoder, as ImageFeatures calls it, beside Keras's own `predict`.

    python -m benchmarks.features [--weights PATH] [--install-openvino]

The encoder's frozen graph and `model.predict` take the same batch with the same weights in turn; medians count. As a
yardstick, OpenVINO takes it too where it can be imported, or where `--install-openvino` may put it into a virtual
environment in a temporary folder, which is gone afterwards. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from memefly import encoders, images, provenance
from memefly.datasets import sample
from memefly.encoders import precision

# Runs under any Python that has openvino: one batch for each line it is sent, and the seconds that took.
_OPENVINO = """
import sys, time
import numpy as np, openvino
folder, hint = sys.argv[1:]
pictures = np.load(folder + "/pictures.npy")
model = openvino.Core().read_model(folder + "/model")
model.reshape(list(pictures.shape))
options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
model = openvino.Core().compile_model(model, "CPU", options)
np.save(folder + "/features.npy", model(pictures)[0])
used = model.get_property("INFERENCE_PRECISION_HINT").to_string()
print("ready", openvino.__version__, used, flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    model(pictures)
    print(time.perf_counter() - start, flush=True)
"""


def draw(pictures: int, seed: int = 0) -> list[bytes]:
    """Sample memes as files."""
    drawn = []
    for i in range(pictures):
        rng = random.Random(f"memefly features {seed} {i}")
        drawn.append(sample.render(sample.draw_scene(rng), rng))
    return drawn


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def relative_error(features: np.ndarray, reference: np.ndarray) -> float:
    """Norm of the difference over the norm of the reference."""
    difference = features.astype(np.float64) - reference
    return float(np.linalg.norm(difference) / np.linalg.norm(reference.astype(np.float64)))


@contextlib.contextmanager
def openvino_python(install: bool) -> Iterator[str | None]:
    """A Python that can import openvino, if there is one; one that was installed for this is removed again."""
    if importlib.util.find_spec("openvino"):
        yield sys.executable
    elif not install:
        yield None
    else:
        with tempfile.TemporaryDirectory(prefix="openvino-") as folder:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            python = str(Path(folder) / "bin" / "python")
            subprocess.run([python, "-m", "pip", "install", "--quiet", "openvino"], check=True, stdout=sys.stderr)
            yield python


@contextlib.contextmanager
def openvino_worker(python: str | None, encoder: encoders.Encoder, pictures: np.ndarray) -> Iterator[dict | None]:
    """OpenVINO with the encoder loaded: {"run": seconds of one batch, "features": …, "version": …, "precision": …}."""
    if python is None:
        yield None
        return
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="features-") as folder:
        module = tf.Module()
        module.model = encoder.model
        signature = [tf.TensorSpec([None, *encoder.image_size, 3], tf.float32)]
        serve = tf.function(lambda x: encoder.model(x, training=False), input_signature=signature, autograph=False)
        tf.saved_model.save(module, f"{folder}/model", signatures=serve.get_concrete_function())
        np.save(f"{folder}/pictures.npy", pictures)
        hint = "bf16" if precision.has_bfloat16() else "f32"
        command = [python, "-c", _OPENVINO, folder, hint]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:

            def answer() -> str:
                line = worker.stdout.readline()
                if not line:
                    raise SystemExit("OpenVINO stopped; what it said is above")
                return line

            def run() -> float:
                worker.stdin.write("\n")
                worker.stdin.flush()
                return float(answer())

            try:
                version, used = answer().split()[1:]
                features = np.load(f"{folder}/features.npy")
                yield {"run": run, "features": features, "version": version, "precision": used}
            finally:
                worker.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="random", help="random | imagenet | path of a Keras model file")
    parser.add_argument("--precision", default="auto", help="of the encoder: auto | float32 | bfloat16")
    parser.add_argument("--batch", type=int, default=32, help="pictures a call")
    parser.add_argument("--rounds", type=int, default=7, help="times each is measured; at least 5")
    parser.add_argument("--install-openvino", action="store_true", help="put it into a temporary folder for this run")
    arguments = parser.parse_args()
    if arguments.rounds < 5:
        parser.error(f"--rounds is {arguments.rounds}; a median wants at least 5")

    import tensorflow as tf

    config = encoders.EncoderConfig(
        weights=arguments.weights, batch_size=arguments.batch, precision=arguments.precision
    )
    encoder = encoders.load(config)
    if not hasattr(encoder.model, "predict"):
        parser.error("--weights is a SavedModel, which has no `predict` to compare with: give a Keras model file")
    files = draw(arguments.batch)
    preprocess = tf.function(lambda data: images.preprocess_batch(data, encoder.image_size), autograph=False)
    pictures = preprocess(tf.constant(files)).numpy()  # (B, H, W, 3)

    def predict() -> np.ndarray:
        return encoder.model.predict(pictures, batch_size=arguments.batch, verbose=0)

    with (
        openvino_python(arguments.install_openvino) as python,
        openvino_worker(python, encoder, pictures) as openvino,
    ):
        runs = {
            "ours": lambda: seconds(lambda: encoder.encode(pictures).numpy()),
            "ours_from_files": lambda: seconds(lambda: encoder.encode_bytes(files)),
            "peer": lambda: seconds(predict),
        }
        if openvino:
            runs["openvino"] = openvino["run"]
        reference = predict()
        error = relative_error(encoder.encode(pictures).numpy(), reference)
        for run in runs.values():  # what is compiled and tuned at the first call is no pace
            run()
        paces = {name: [] for name in runs}
        for round_ in range(arguments.rounds):
            for name, run in runs.items():
                paces[name].append(arguments.batch / run())
            print(f"{round_ + 1}/{arguments.rounds} ", {name: round(p[-1], 2) for name, p in paces.items()}, flush=True)

    medians = {name: statistics.median(pace) for name, pace in paces.items()}
    result = {
        "name": "features",
        "ratio": round(medians["ours"] / medians["peer"], 3),
        "ours": round(medians["ours"], 2),
        "peer": round(medians["peer"], 2),
        "unit": "pictures/s",
        "shapes": {"pictures": pictures.shape, "features": reference.shape},
        "ours_from_files": round(medians["ours_from_files"], 2),
        "encoder": encoder.name,
        "precision": encoder.bulk_precision,
        "processor_has_bfloat16": precision.has_bfloat16(),
        "relative_error": float(f"{error:.2g}"),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "rounds": arguments.rounds,
    }
    if openvino:
        result["openvino"] = {
            "pictures_per_second": round(medians["openvino"], 2),
            "ours_over_it": round(medians["ours"] / medians["openvino"], 3),
            "precision": openvino["precision"],
            "relative_error": float(f"{relative_error(openvino['features'], reference):.2g}"),
            "version": openvino["version"],
        }
    print(json.dumps(result | {"commit": provenance.git_commit()}))


if __name__ == "__main__":
    main()
