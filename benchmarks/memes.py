"""Quality of meme captions: perplexity by template, whether the template shows, variety and copying.

    memefly run --data data/memes --root root --config memes
    python -m benchmarks.memes --data data/memes --model root/serving/captioner --captions 20

The captions of a template are different jokes, so agreement with any one of them says little. Measured instead:

- perplexity of held-back captions (the eval split) given their template's picture, by template;
- template recall: the share of generated captions whose template a bag-of-words classifier (multinomial naive Bayes
  over the training captions) recovers, beside its recall of captions that people wrote, which is the ceiling;
- distinct-1 and distinct-2 (Li et al., arXiv 1510.03055): different words and pairs of words over all of them;
- the share of generated captions that are training captions, word for word.

Beam search gives each template its best captions, sampling as many seeded ones.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np

from memefly import images, provenance, text
from memefly.datasets import records
from memefly.metrics import diversity
from memefly.metrics.templates import TemplateClassifier, template_recall


def read(data: Path) -> tuple[dict[str, str], dict[str, list[str]], dict[str, list[str]]]:
    """By template: its picture's path, its training captions (with val's, which models have seen) and its eval's."""
    pictures, trained, held = {}, defaultdict(list), defaultdict(list)
    for line in records.read_lines(data):
        record = records.parse(line)
        pictures.setdefault(record.group, record.image)
        (held if record.split == "eval" else trained)[record.group] += map(text.normalize, record.captions)
    return pictures, trained, held


def perplexities(folder: Path, features: np.ndarray, captions: list[list[str]]) -> list[float]:
    """exp of the mean negative log-probability of a token, </s> counted, <unk> scored as a token; one a template."""
    import tensorflow as tf

    from memefly.exported.parts import load_parts

    parts = load_parts(folder)
    results = []
    for picture, texts in zip(features, captions):
        ids = [parts.vocabulary.encode(t) for t in texts]
        longest = max(map(len, ids))
        tokens = tf.constant([[row + [text.PAD_ID] * (longest - len(row)) for row in ids]])  # (1, C, T)
        logits, _ = parts.network.teacher_forced(parts.standardizer(picture[np.newaxis]), tokens)  # (R, V)
        targets = np.concatenate([row[1:] for row in ids])
        log_probs = tf.nn.log_softmax(logits).numpy()[np.arange(len(targets)), targets]
        results.append(math.exp(-float(log_probs.mean())))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="a canonical data set of templates")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--captions", type=int, default=20, help="captions drawn of a template; beam search gives 5")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    from memefly.exported import loading

    pictures, trained, held = read(arguments.data)
    templates = sorted(t for t in pictures if trained[t] and held[t])
    if len(templates) < 2:
        parser.error(f"{arguments.data} has fewer than two templates with captions in train and in eval")
    model = loading.load(arguments.model)
    data = [images.read(arguments.data / pictures[t]).data for t in templates]

    classifier = TemplateClassifier({t: [c.split() for c in trained[t]] for t in templates})
    seen = {c for captions in trained.values() for c in captions}

    def judge(captions: dict[str, list[str]]) -> dict[str, float]:
        everything = [(t, c) for t in templates for c in captions[t]]
        said = [c.split() for _, c in everything]
        varied = diversity(said)
        return {
            "captions": len(said),
            "template_recall": template_recall(classifier, said, [t for t, _ in everything]),
            "distinct_1": varied["distinct_1"],
            "distinct_2": varied["distinct_2"],
            "distinct_captions": varied["distinct_share"],
            "copied_share": float(np.mean([c in seen for _, c in everything])),
        }

    def caption(**knobs) -> dict[str, list[str]]:
        return {t: [c.text for c in row] for t, row in zip(templates, model.caption(data, **knobs))}

    beam = caption(beam=5)
    sampling = {"beam": arguments.captions, "temperature": arguments.temperature, "top_p": arguments.top_p}
    sampled = caption(**sampling, seed=arguments.seed)
    rows = {"people (held back)": judge(held), "beam 5": judge(beam), "sampling": judge(sampled)}
    by_template = perplexities(model.folder, model.features(data), [held[t] for t in templates])

    for t in templates[:5]:
        print(f"{t}: {beam[t][0]} | {sampled[t][0]}")
    for what, figures in rows.items():
        print(f"{what:<20}" + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()))
    ours, ceiling = rows["sampling"]["template_recall"], rows["people (held back)"]["template_recall"]
    print(
        json.dumps(
            {
                "name": "memes",
                "ratio": round(ours / ceiling, 3),
                "ours": round(ours, 4),
                "peer": round(ceiling, 4),
                "unit": "template recall (the peer: captions that people wrote)",
                "shapes": f"{len(templates)} templates, {len(seen)} training captions",
                "commit": provenance.git_commit(),
                "knobs": {**sampling, "seed": arguments.seed},
                "perplexity_median": round(statistics.median(by_template), 1),
                "perplexity_best": round(min(by_template), 1),
                "perplexity_worst": round(max(by_template), 1),
                **{what: {k: round(v, 4) for k, v in figures.items()} for what, figures in rows.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
