"""Captions of memes beside people's, and what else could foresee or say them.

    memefly run --data data/imgflip --root root --config memes
    python -m benchmarks.memes --data data/imgflip --model root/serving/captioner [--beside other/serving/captioner]

On the eval split, with the groups that the model's run held out (new templates), `--draws` captions of each template:

- bits a character of what people wrote, on templates that were learnt from and on new ones
  (`memefly.metrics.information`); peers: a word 5-gram model of each template, interpolated with one of all
  (`benchmarks.word_ngrams`), its share fitted on val;
- what is said (`memefly.metrics.learnt`, and where the extra `sentences` is installed, `memefly.metrics.mauve`); peers:
  captions that people wrote on the nearest training template, by the mean of the model's own features, and people's of
  the same template, which were held back.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.word_ngrams import WordNgrams
from memefly import evaluation, images, provenance
from memefly.cleaning import Cleaning
from memefly.datasets.splits import Splitting
from memefly.exported.manifest import newest_version, read_manifest
from memefly.exported.saved_model import ExportedModel
from memefly.metrics import sentences
from memefly.metrics.information import WHOLE, Bits, bits, characters
from memefly.metrics.learnt import Saying, as_many
from memefly.metrics.mauve import distances

COLUMNS = (
    *("bits_known_groups", "bits_new_groups", "bits_unseen", "frechet_ratio", "mauve", "repetition", "copied_share"),
    *("near_copied_share", "spliced_share", "boxes_share", "template_recall", "ngram_bits", "distinct_share"),
)


def said_by(
    examples: evaluation.Examples, said: Sequence[Sequence[Saying]], embed: Callable[[Sequence[str]], np.ndarray] | None
) -> dict[str, float]:
    """What `memefly evaluate` tells of captions, where no model says them."""
    people, words = examples.people(), [caption.words for captions in said for caption in captions]
    found = examples.learnt.score(said, people) | {"distinct_share": len(set(words)) / len(words)}
    if embed:
        written = [[" ".join(caption.words) for caption in captions] for captions in people]
        found |= distances([" ".join(caption) for caption in words], written, embed)
    return found


def nearest(
    examples: evaluation.Examples, training: dict[str, np.ndarray], features: np.ndarray, draws: int, seed: int
):
    """Captions of the training template that looks most alike, of every picture of eval; not of the same one."""
    drawer, found = random.Random(seed), []
    for group, mean in zip(examples.groups, features):
        others = [name for name in training if name != group]
        alike = max(others, key=lambda name: float(training[name] @ mean))
        captions = examples.learnt.by_group[alike]
        found.append([c._replace(group=group) for c in drawer.sample(captions, min(draws, len(captions)))])
    return found


def unit_means(model: ExportedModel, pictures: Sequence[bytes]) -> np.ndarray:
    """float32 (pictures, D), of length 1."""
    means = model.features(pictures).astype(np.float32).mean(axis=(1, 2))
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def word_ngrams(data: Path, splitting: Splitting, cleaning: Cleaning) -> dict[str, float]:
    captions: dict[str, dict[str, list[list[str]]]] = {s: defaultdict(list) for s in ("train", "val", "eval")}
    written: dict[str, list[str]] = defaultdict(list)
    for split, record in splitting.of(data, captions):
        kept = [caption for caption in (cleaning.clean(c).caption for c in record.captions) if caption]
        captions[split][record.group] += [WHOLE.cut(caption) for caption in kept]
        if split == "eval":
            written[record.group] += kept
    peer = WordNgrams(captions["train"], captions["val"])
    found: dict[bool, list[Bits]] = {True: [], False: []}
    for group, texts in written.items():
        known = group in captions["train"]
        needed = sum(peer.bits(words, group if known else None) for words in captions["eval"][group])
        found[known].append(Bits(needed, sum(map(characters, texts))))
    return {"bits_known_groups": bits(found[True]), "bits_new_groups": bits(found[False])}


def row(name: str, figures: dict[str, float]) -> str:
    return " | ".join([f"| {name}", *(f"{figures[c]:.3f}" if c in figures else "" for c in COLUMNS)]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="a canonical data set of templates")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another model; may be repeated")
    parser.add_argument("--draws", type=int, default=20, help="captions of each template")
    parser.add_argument("--seed", type=int, default=0, help="of the peers' captions; models draw with 0, 1, 2 …")
    parser.add_argument("--decode", action="append", default=[], metavar="KNOB=VALUE", help="of the model, as it draws")
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()

    folder = newest_version(arguments.model)
    config = read_manifest(folder)["config"]
    splitting, cleaning = Splitting.of_model(config), Cleaning.model_validate(config.get("cleaning") or [])
    examples = evaluation.read(arguments.data, "eval", splitting, cleaning=cleaning)
    embed = sentences.embed if importlib.util.find_spec(sentences.PACKAGE) else None
    knobs = {name: float(value) for name, value in (one.split("=") for one in arguments.decode)}
    print(" | ".join(["|", *COLUMNS]) + " |", "|---" * (len(COLUMNS) + 1) + "|", sep="\n")
    rows: dict[str, dict[str, float]] = {}

    def tell(name: str, figures: dict[str, float], started: float) -> None:
        rows[name] = figures | {"seconds": round(time.monotonic() - started, 1)}
        print(row(name, figures), flush=True)

    for i, path in enumerate([folder, *arguments.beside]):
        started = time.monotonic()
        mine = knobs if i == 0 else {}
        with tqdm(
            total=arguments.draws * len(examples.pictures), desc=path.name, unit=" captions", disable=None
        ) as bar:
            found = evaluation.evaluate(
                path, examples, on_captioned=bar.update, draws=arguments.draws, embed=embed, **mine
            )
        tell(str(path), found.metrics, started)
    if not arguments.no_peers:
        started = time.monotonic()
        tell("word 5-grams", word_ngrams(arguments.data, splitting, cleaning), started)
        model = ExportedModel(folder)
        training: dict[str, bytes] = {}
        for _, record in splitting.of(arguments.data, ("train",)):
            training.setdefault(record.group, images.read(arguments.data / record.image).data)
        means = dict(zip(training, unit_means(model, list(training.values()))))
        started = time.monotonic()
        said = nearest(examples, means, unit_means(model, examples.pictures), arguments.draws, arguments.seed)
        tell("captions of the nearest template", said_by(examples, said, embed), started)
        drawn = [captions[:1] * arguments.draws for captions in examples.people()]
        people = as_many(examples.people(), drawn, arguments.seed + 1)
        figures = said_by(examples, people, embed)
        # The 5-gram model has seen these; people's figure is that of captions which it has not.
        tell("people", figures | {"ngram_bits": figures["people_ngram_bits"]}, time.monotonic())
    knobs = {"draws": arguments.draws, "seed": arguments.seed, **knobs}
    print(json.dumps({"name": "memes", "commit": provenance.git_commit(), "knobs": knobs, "rows": rows}))


if __name__ == "__main__":
    main()
