"""The two lanes side by side on one machine: import, features, training step, decoding, serving.

    python -m benchmarks.lanes --old OTHER/.venv/bin/python --model root/serving/captioner --pictures data/images

Run it in the newer lane, where a Python of the older one is at hand too (a Debian 13 with both). Lanes take turns, one
process a lane and measurement, `--rounds` times over; told are medians and the ratio of the older lane's to the newer's
time, with the least and the largest of a round. All is in float32, but for what `encoder.precision=auto` settles on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from memefly import provenance

HOME = Path(__file__).parents[1]
IMPORT = "import time; t = time.perf_counter(); import pipeline.local_runner; print(time.perf_counter() - t)"


def features(arguments) -> float:
    """Seconds a picture: InceptionV3 of random weights, batches of 32."""
    import numpy as np

    from memefly import encoders
    from memefly.encoders import EncoderConfig

    encoder = encoders.load(EncoderConfig(weights="random", precision=arguments.precision))
    pictures = np.random.default_rng(0).uniform(-1, 1, (32, *encoder.image_size, 3)).astype(np.float32)
    return repeated(lambda: encoder.encode(pictures).numpy(), 6) / len(pictures)


def training(arguments) -> float:
    """Seconds a caption: a cross-entropy step of attention with 512 units, 26 pictures of 5 captions."""
    import numpy as np
    import tensorflow as tf

    from benchmarks.training import Ours, Sizes, draw_lengths, draw_tokens
    from memefly.training.config import TrainingConfig

    rng = np.random.default_rng(0)
    drawn = [draw_tokens(rng, -np.sort(-draw_lengths(rng, (26, 5))), 5000) for _ in range(6)]
    pictures = tf.random.stateless_normal([26, *Sizes().feature_shape], [0, 0])
    step = Ours(Sizes(), TrainingConfig(precision="float32"), pictures, [tf.constant(t) for t in drawn])
    return repeated(step, 3) / (len(drawn) * 26 * 5)


def decoding(arguments) -> float:
    """Seconds a picture whose features are known: beam 3, 20 tokens."""
    from benchmarks.decoding import Latency, Sizes
    from memefly.decoding_config import DecodingConfig

    latency = Latency(Sizes(units=256), DecodingConfig(beam=3, max_length=20), 30)
    latency()
    return statistics.median(latency.milliseconds) / 1e3


def serving(arguments) -> float:
    """Seconds from a picture's bytes to its caption, in an exported model."""
    from memefly import images
    from memefly.exported import loading

    model = loading.load(arguments.model)
    model.warm_up()
    pictures = [images.read(p).data for p in sorted(Path(arguments.pictures).iterdir())[:20]]
    return repeated(lambda: [model.predict([one]) for one in pictures], 2) / len(pictures)


MEASURED: dict[str, Callable[[argparse.Namespace], float]] = {
    "features": features,
    "training": training,
    "decoding": decoding,
    "serving": serving,
}


def repeated(call: Callable[[], object], times: int) -> float:
    """Seconds of a call that was made once before: the least of some."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def in_lane(python: str, what: str, arguments: argparse.Namespace) -> float:
    command = ["-c", IMPORT] if what == "import" else ["-m", "benchmarks.lanes", "--measure", what, *sys.argv[1:]]
    environment = {**os.environ, "PYTHONPATH": str(HOME), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([python, *command], cwd=HOME, env=environment, stdout=subprocess.PIPE, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", required=True, help="a Python of the older lane, with what memefly needs")
    parser.add_argument("--model", required=True, type=Path, help="an exported model, for serving")
    parser.add_argument("--pictures", required=True, type=Path, help="a folder of pictures for it")
    parser.add_argument("--precision", default="auto", help="of the encoder in bulk (auto)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.model, arguments.pictures = arguments.model.resolve(), arguments.pictures.resolve()
    if arguments.measure:
        print(MEASURED[arguments.measure](arguments))
        return
    found = {}
    for what in ("import", *MEASURED):
        rounds = []
        for i in range(arguments.rounds):
            lanes = [("old", arguments.old), ("new", sys.executable)]
            rounds.append({lane: in_lane(python, what, arguments) for lane, python in lanes[:: 1 - 2 * (i % 2)]})
        ratios = sorted(one["old"] / one["new"] for one in rounds)
        found[what] = {
            **{lane: round(statistics.median(one[lane] for one in rounds), 5) for lane in ("old", "new")},
            "ratio": [round(r, 2) for r in (statistics.median(ratios), ratios[0], ratios[-1])],
        }
        print(
            f"{what:<10} old {found[what]['old']:.4f} s  new {found[what]['new']:.4f} s  {found[what]['ratio']}",
            flush=True,
        )
    print(json.dumps({"seconds": found, "commit": provenance.git_commit(), "new": provenance.versions()}))


if __name__ == "__main__":
    main()
