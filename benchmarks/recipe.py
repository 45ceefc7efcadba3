"""What each lever of the recipe is worth: one changed at a time, over several seeds, judged on `val`.

    memefly run --config flickr8k --data data/flickr8k --root root --to Transform
    python -m benchmarks.recipe --root root --config flickr8k --set training.self_critical.epochs=0 --out recipe.jsonl

Every trial trains on the Transform's output as the Trainer does, in a process of its own with one thread, `--jobs` of
them at once; then it captions the pictures of `val`, which is cut from the training data, with the configuration's own
beam, and scores them as `memefly.metrics` does. `eval` is never looked at. Finished trials stand in `--out`: called
again, it goes on where it was stopped, and its table tells all that the file holds.

A lever is a name and the keys it sets: `--lever "dropout 0.3: network.dropout=0.3"`; without any, those below, which
are about the first stage. What belongs to the data (`text.min_count`, `text.max_length`, `encoder.*`) needs a
Transform of its own: run that into another root, and call this with `--root other`, the same `--out` and `--lever
"min_count 5: text.min_count=5"` or `--lever "mirrored: encoder.flip=true training.flip=0.5"`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from memefly import provenance

BASE = "as it is"
# By group; each is one change to the preset `flickr8k`.
LEVERS = {
    "network": {
        "dot attention, 1 head": ["network.attention=dot"],
        "dot attention, 4 heads": ["network.attention=dot", "network.heads=4"],
        "LSTM": ["network.cell=lstm"],
        "512 units": ["network.units=512"],
        "words not tied": ["network.tie_weights=false"],
        "par-inject": ["network.kind=par_inject"],
        "merge": ["network.kind=merge"],
    },
    "regularisation": {
        "dropout 0.2": ["network.dropout=0.2"],
        "dropout 0.5": ["network.dropout=0.5"],
        "no label smoothing": ["training.label_smoothing=0"],
        "label smoothing 0.2": ["training.label_smoothing=0.2"],
        "weight decay 0.01": ["training.weight_decay=0.01"],
        "no attention penalty": ["training.attention_penalty=0"],
        "scheduled sampling 0.25": ["training.scheduled_sampling=0.25"],
    },
    "optimiser": {
        "rate 0.0007": ["training.learning_rate=0.0007"],
        "rate 0.003": ["training.learning_rate=0.003"],
        "no warm-up": ["training.warmup=0"],
        "clipping at 1": ["training.clip_norm=1"],
        "no moving average": ["training.average=0"],
        "mean of the last 3 epochs": ["training.average_last=3"],
        "stopped by BLEU-4": ["training.stop_on=bleu4"],
    },
}


def transformed(root: Path) -> tuple[Path, Path]:
    """The latest examples and graph that Transform left under a pipeline's root."""
    return newest(root, "Transform", "transformed_examples"), newest(root, "Transform", "transform_graph")


def newest(root: Path, node: str, key: str) -> Path:
    folder = root / "artifacts" / node / key
    versions = sorted((p for p in folder.glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
    if not versions:
        raise SystemExit(f"nothing in {folder}; first: memefly run --root {root} … --to Transform")
    return versions[-1]


def trial(root: Path, preset: str, overrides: list[str], checkpoints: Path) -> dict:
    """Trains once, in this process; the figures of `val`."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    from components.caption_trainer.transformed import read_transformed
    from components.image_features import artifact
    from memefly.decoding import decode
    from memefly.rules import dangling_ids, pieces_of
    from memefly.training import train
    from memefly.training.validation import validate
    from pipeline import config as configuration

    config = configuration.load(preset, overrides)
    examples_dir, graph = transformed(root)
    features = artifact.read(str(newest(root, "ImageFeatures", "features")))
    files = ([str(p) for p in (examples_dir / f"Split-{split}").iterdir()] for split in ("train", "val"))
    store = root / "features"
    data = read_transformed(str(graph), *files, features, store, config.text.max_length, config.text)
    examples, standardizer, vocabulary = data.examples, data.standardizer, data.vocabulary

    def on_event(name: str, values: dict) -> None:
        if name == "epoch":
            shown = ("stage", "epoch", "loss", "val_bleu4", "val_cider", "val_distinct_share", "captions_per_second")
            print(json.dumps({k: values[k] for k in shown}), file=sys.stderr, flush=True)

    result = train(examples, standardizer, vocabulary, config.network, config.training, checkpoints, on_event)
    rules = {"dangling": dangling_ids(vocabulary), "pieces": pieces_of(vocabulary)}
    decoder = tf.function(
        lambda shown: decode(result.network, standardizer(shown), config.decoding, **rules).tokens[:, 0],
        input_signature=[tf.TensorSpec([None, *features.shape], tf.float16)],
        autograph=False,
    )  # fmt: skip
    metrics, _ = validate(decoder, examples, vocabulary, pictures=sys.maxsize)
    return {
        **metrics,
        "epochs": len(result.history),
        "best": result.metrics,
        "seconds": round(sum(h["seconds"] for h in result.history), 1),
        "weights": int(sum(v.shape.num_elements() for v in result.network.variables)),
    }


def identity(root: Path, preset: str, overrides: list[str]) -> str:
    """Names a trial by all that its result follows from: the whole configuration, the data, the code."""
    from pipeline import config as configuration

    config = configuration.load(preset, overrides).model_dump(mode="json")
    content = json.dumps([config, [str(p.resolve()) for p in transformed(root)]], sort_keys=True)
    return hashlib.sha256((content + provenance.code_digest("memefly")).encode()).hexdigest()[:16]


def table(rows: list[dict], base: str) -> str:
    """Markdown: lever by lever, mean ± standard deviation over seeds, and what it changes."""
    by_lever: dict[str, list[dict]] = {}
    for row in rows:
        by_lever.setdefault(row["lever"], []).append(row)

    def cell(lever: str, key: str, scale: float, digits: int) -> str:
        values = [scale * row[key] for row in by_lever[lever]]
        spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.{digits}f}{spread}"

    def change(lever: str, key: str, scale: float, digits: int) -> str:
        if lever == base or base not in by_lever:
            return ""
        means = [statistics.mean(scale * row[key] for row in by_lever[name]) for name in (lever, base)]
        return f"{means[0] - means[1]:+.{digits}f}"

    lines = ["| lever | BLEU-4 | | CIDEr | | distinct | seeds | minutes |", "|---|---|---|---|---|---|---|---|"]
    for lever, trials in by_lever.items():
        lines.append(
            f"| {lever} | {cell(lever, 'bleu4', 100, 1)} | {change(lever, 'bleu4', 100, 1)} "
            f"| {cell(lever, 'cider', 1, 3)} | {change(lever, 'cider', 1, 3)} "
            f"| {cell(lever, 'distinct_share', 100, 0)} % | {len(trials)} "
            f"| {statistics.mean(t['seconds'] for t in trials) / 60:.0f} |"
        )
    return "\n".join(lines)


def parse_lever(text: str) -> tuple[str, list[str]]:
    name, colon, keys = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f'expected "NAME: KEY=VALUE …", got "{text}"')
    return name.strip(), keys.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="of a pipeline that ran up to Transform")
    parser.add_argument("--config", default="flickr8k", help="the preset or file that levers are changes to")
    parser.add_argument("--set", dest="base", action="append", default=[], metavar="KEY=VALUE", help="for all trials")
    parser.add_argument("--lever", type=parse_lever, action="append", help='"NAME: KEY=VALUE …"; may be repeated')
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trials at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one a finished trial")
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trial:
        overrides = json.loads(arguments.trial)
        checkpoints = arguments.out.with_suffix("") / identity(arguments.root, arguments.config, overrides)
        print(json.dumps(trial(arguments.root, arguments.config, overrides, checkpoints)))
        return

    levers = arguments.lever or [(BASE, []), *(item for group in LEVERS.values() for item in group.items())]
    rows = read(arguments.out)
    done = {(row["lever"], row["seed"]): row for row in rows}
    waiting = []
    for seed in arguments.seeds:
        for lever, keys in levers:
            overrides = [*arguments.base, *keys, f"training.seed={seed}"]
            before = done.get((lever, seed))
            if before is None:
                waiting.append((lever, seed, overrides))
            elif before["set"] != overrides or before["config"] != arguments.config:
                parser.error(
                    f'{arguments.out} holds "{lever}, seed {seed}" of another configuration ({before["config"]}, '
                    f"{before['set']}); name another lever or another file"
                )
    print(f"{len(waiting)} trials, {len(rows)} done before", file=sys.stderr)

    def run(item: tuple[str, int, list[str]]) -> bool:
        lever, seed, overrides = item
        command = [sys.executable, "-m", "benchmarks.recipe", "--root", str(arguments.root)]
        command += ["--config", arguments.config, "--out", str(arguments.out), "--trial", json.dumps(overrides)]
        started = time.monotonic()
        log = arguments.out.with_suffix("") / f"{lever}, seed {seed}.log".replace("/", " ")
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{lever}, seed {seed}: trains; its epochs are told in {log}", file=sys.stderr)
        with log.open("a", encoding="utf-8") as stderr:
            process = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=False, text=True)
        if process.returncode:
            print(f"{lever}, seed {seed}: failed; {log} says why", file=sys.stderr)
            return False
        row = {"lever": lever, "seed": seed, **json.loads(process.stdout.splitlines()[-1]), "set": overrides}
        row["config"] = arguments.config
        row |= {"commit": provenance.git_commit(), "wall_seconds": round(time.monotonic() - started, 1)}
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{lever}, seed {seed}: BLEU-4 {100 * row['bleu4']:.1f}, CIDEr {row['cider']:.3f}", file=sys.stderr)
        return True

    with ThreadPoolExecutor(arguments.jobs) as pool:
        failed = list(pool.map(run, waiting)).count(False)
    rows = read(arguments.out)
    if not rows:
        raise SystemExit("no trial ended well")
    base = levers[0][0]
    print(table(rows, base))
    best = max(rows, key=lambda row: row["cider"])
    print(
        json.dumps(
            {
                "name": "recipe",
                "base": base,
                "best": best["lever"],
                "cider": best["cider"],
                "bleu4": best["bleu4"],
                "trials": len(rows),
                "failed": failed,
                "commit": provenance.git_commit(),
            }
        )
    )
    if failed:
        raise SystemExit(1)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
