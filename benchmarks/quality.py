"""Quality of captions of photographs: BLEU, CIDEr, ROUGE-L, variety and copying, of one or more trained models.

    memefly run --data data/flickr8k --root root --config flickr8k --set training.seed=0
    python -m benchmarks.quality --data data/flickr8k --model root/serving/captioner [--model …] --beams 3 5

Captions the pictures of the eval split (Flickr8k's official dev part, as `memefly import flickr8k` names it), which no
model was trained, stopped or tuned on, through each model's own signature, and scores them against all captions of the
picture as `memefly.metrics` does: coco-caption's definitions, cut by `memefly.text` (lower case, no punctuation).
Models whose configuration and encoder differ in nothing but the seed share a line: mean and, behind a ±, the standard
deviation over seeds. What sets two lines apart is told where their kind does not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path

from memefly import images, provenance, text
from memefly.datasets import records
from memefly.metrics import score
from memefly.networks import NetworkConfig

COLUMNS = ("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "distinct_share", "copied_share")
# BLEU-4 on Flickr8k's test part, in hundredths, as the papers and pages give it; none of it was measured here.
PUBLISHED = (
    ("Show, Attend and Tell, soft attention, VGG (arXiv 1502.03044)", 19.5),
    ("Show, Attend and Tell, hard attention, VGG (arXiv 1502.03044)", 21.3),
    ("merge, VGG (Tanti et al., arXiv 1703.09137)", 17.8),
    ("par-inject, VGG (Tanti et al., arXiv 1703.09137)", 19.1),
    ("Keras InceptionV3 and LSTM", 19.0),
    ("ResNet-50 and attention, frozen", 20.1),
    ("ResNet-50 and attention, fine-tuned", 22.1),
)


def read(data: Path) -> tuple[list[records.Record], set[str]]:
    """Records of the eval split, and the captions of the others, normalised."""
    evaluated, seen = [], set()
    for line in records.read_lines(data):
        record = records.parse(line)
        if record.split == "eval":
            evaluated.append(record)
        else:
            seen.update(map(text.normalize, record.captions))
    return evaluated, seen


def evaluate(model, data: Path, evaluated: list[records.Record], seen: set[str], beam: int) -> dict:
    pictures = [images.read(data / record.image).data for record in evaluated]
    started = time.monotonic()
    captions = [row[0].text for row in model.caption(pictures, batch_size=32, beam=beam)]
    figures = score([record.captions for record in evaluated], captions)
    copied = sum(caption in seen for caption in captions) / len(captions)
    return figures | {"copied_share": copied, "seconds": time.monotonic() - started, "captions": captions}


def setting(manifest: dict) -> dict[str, object]:
    """What the model follows from, by dotted key: its configuration and its encoder, but for the seed."""
    flat: dict[str, object] = {}

    def add(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    network = NetworkConfig(**manifest["config"]["network"]).model_dump()  # with keys that are younger than the model
    add("", manifest["config"] | {"network": network})
    stages = ("self_critical", "fine_tuning")
    skipped = [f"training.{stage}." for stage in stages if not flat.get(f"training.{stage}.epochs")]
    flat = {key: value for key, value in flat.items() if not key.startswith(tuple(skipped))}
    del flat["training.seed"]
    return flat | {"encoder": manifest["encoder"]["name"]}


def kind(keys: dict[str, object]) -> str:
    """The network, how many of them there are, and the stages after the first."""
    network, members = keys["network.kind"], keys["network.members"]
    label = network if network != "attention" else f"attention ({keys['network.attention']})"
    label += f", {members} members" if members > 1 else ""
    label += "".join(f", {other['members']} {other['kind']} beside" for other in keys["network.beside"])
    later = [stage for stage in ("self_critical", "fine_tuning") if f"training.{stage}.epochs" in keys]
    return ", ".join([label, *(stage.replace("_", "-") for stage in later)])


def labels(settings: list[dict[str, object]]) -> list[str]:
    """A name for each of some different settings; of the same kind, with the keys in which they differ."""
    named = []
    for keys in settings:
        alike = [other for other in settings if kind(other) == kind(keys)]
        every = sorted({key for other in alike for key in other})
        apart = [key for key in every if any(other.get(key) != keys.get(key) for other in alike)]
        named.append(", ".join([kind(keys), *(f"{key} {keys.get(key)}" for key in apart)]))
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="a canonical data set with an eval split")
    parser.add_argument("--model", required=True, type=Path, action="append", help="an exported model; may be repeated")
    parser.add_argument("--beams", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--pictures", type=int, help="the first so many pictures of eval only")
    arguments = parser.parse_args()

    from memefly.exported import loading

    evaluated, seen = read(arguments.data)
    evaluated = evaluated[: arguments.pictures]
    if not evaluated:
        parser.error(f"{arguments.data} names no picture of the eval split")
    runs_of: dict[str, dict[int, list[dict]]] = defaultdict(lambda: defaultdict(list))  # by setting, by beam
    for folder in arguments.model:
        model = loading.load(folder)
        for beam in arguments.beams:
            found = evaluate(model, arguments.data, evaluated, seen, beam)
            captions = found.pop("captions")
            found |= {"seed": model.manifest["config"]["training"]["seed"], "training": model.manifest["metrics"]}
            runs_of[json.dumps(setting(model.manifest), sort_keys=True)][beam].append(found)
            shown = "  ".join(f"{c} {found[c]:.4f}" for c in COLUMNS)
            print(f"{folder}, beam {beam}: {shown}")
            for record, caption in list(zip(evaluated, captions))[:3]:
                print(f"  {caption}    (people: {record.captions[0]})")

    named = labels([json.loads(keys) for keys in runs_of])
    rows = {(label, beam): runs for label, beams in zip(named, runs_of.values()) for beam, runs in beams.items()}

    def cell(figures: list[float]) -> str:
        spread = f" ± {100 * statistics.stdev(figures):.1f}" if len(figures) > 1 else ""
        return f"{100 * statistics.mean(figures):.1f}{spread}"

    print(f"\n| network | beam | seeds | {' | '.join(COLUMNS)} |\n|{'---|' * (3 + len(COLUMNS))}")
    for (label, beam), runs in rows.items():
        seeds = " ".join(str(r["seed"]) for r in runs)
        print(f"| {label} | {beam} | {seeds} | {' | '.join(cell([r[c] for r in runs]) for c in COLUMNS)} |")
    print("\npublished, BLEU-4 on the test part:")
    for what, bleu4 in PUBLISHED:
        print(f"  {bleu4:4.1f}  {what}")

    (label, beam), best = max(rows.items(), key=lambda row: statistics.mean(r["bleu4"] for r in row[1]))
    ours, peer = 100 * statistics.mean(r["bleu4"] for r in best), 19.5
    print(
        json.dumps(
            {
                "name": "quality",
                "ratio": round(ours / peer, 3),
                "ours": round(ours, 2),
                "peer": peer,
                "unit": "BLEU-4, hundredths (ours on dev; the peer, soft attention, as published on test)",
                "shapes": f"{len(evaluated)} pictures, {label}, beam {beam}",
                "commit": provenance.git_commit(),
                "rows": [
                    {"network": label, "beam": beam, **{c: round(r[c], 4) for c in COLUMNS}, "seed": r["seed"]}
                    for (label, beam), runs in rows.items()
                    for r in runs
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
