"""Whether a model trained on sample memes says what is in pictures that it has never seen.

    python -m benchmarks.sample_accuracy --model demo/pipeline/serving/captioner

Draws new memes (their seed is not that of the demo), captions them, and compares the words of each caption with the
scene that was drawn. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from memefly import provenance, text
from memefly.datasets import sample
from memefly.metrics import best_constant_caption, score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=4242)
    arguments = parser.parse_args()

    scenes, pictures, references = [], [], []
    for i in range(arguments.images):
        rng = random.Random(f"memefly sample {arguments.seed} {i}")
        scene = sample.draw_scene(rng)
        scenes.append(scene)
        pictures.append(sample.render(scene, rng))
        references.append(sample.captions(scene, rng))

    from memefly.exported import loading

    model = loading.load(arguments.model)
    start = time.monotonic()
    hypotheses = [captions[0].text for captions in model.caption(pictures)]
    seconds = time.monotonic() - start

    named = [set(text.tokenize(caption)) for caption in hypotheses]
    attributes = ("character", "colour", "mood", "prop", "place", "background")
    vocabulary = {
        "character": sample.CHARACTERS, "colour": sample.COLOURS, "mood": sample.MOODS, "prop": sample.PROPS,
        "place": sample.PLACES, "background": sample.BACKGROUNDS,
    }  # fmt: skip
    right = {}
    for attribute in attributes:
        said = [(words & set(vocabulary[attribute]), getattr(scene, attribute)) for words, scene in zip(named, scenes)]
        mentioned = [(names, truth) for names, truth in said if names]
        right[f"{attribute}_named_right"] = sum(names == {truth} for names, truth in said) / len(said)
        right[f"{attribute}_right_when_named"] = sum(n == {t} for n, t in mentioned) / max(1, len(mentioned))
    where = [bool(words & {scene.background, scene.place}) for words, scene in zip(named, scenes)]
    scores = score(references, hypotheses)
    constant, constant_bleu4 = best_constant_caption([[text.tokenize(c) for c in group] for group in references])
    for caption in hypotheses[:5]:
        print(caption)
    print(
        json.dumps(
            {
                "name": "sample_accuracy",
                "images": arguments.images,
                "seed": arguments.seed,
                "beam": model.manifest["config"]["decoding"]["beam"],
                **{k: round(v, 3) for k, v in right.items()},
                "background_or_place_right": sum(where) / len(where),
                "bleu4": round(scores["bleu4"], 4),
                "constant_bleu4": round(constant_bleu4, 4),
                "constant_caption": constant,
                "ratio": round(scores["bleu4"] / constant_bleu4, 2),
                "distinct_captions": scores["distinct_captions"],
                "seconds": round(seconds, 1),
                "commit": provenance.git_commit(),
            }
        )
    )


if __name__ == "__main__":
    main()
