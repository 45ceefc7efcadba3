"""The gate on real data: two models beside one another, and cheats made of what the first one says.

    memefly run --data data/flickr8k --root root --config flickr8k
    python -m benchmarks.gate --root root --config flickr8k --model root/serving/captioner/V2 [--live …/V1] [--cheats]

Everything goes through the pipeline's own Evaluator, on the eval split that `--root` holds, with the rules of
`--config`. `--live` is judged as the live model. A cheat says, without looking, what scored well elsewhere ("Learning
to Evaluate Image Captioning", arXiv 1806.06422); it is a SavedModel like any other, and no live model helps the gate
against it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components.caption_evaluator.executor import Executor
from components.caption_metrics import evaluation
from components.image_features import artifact as image_features
from memefly import provenance, text
from memefly.datasets.examples import read, strings
from memefly.exported.manifest import newest_version
from memefly.metrics import best_constant_caption
from pipeline import config
from pipeline.config import GateConfig
from pipeline.gate import eval_config


def speaker(said: Mapping[bytes, str] | Mapping[bytes, Sequence[str]], folder: Path) -> Path:
    """A SavedModel whose `evaluate` looks up what to say of the bytes of a picture: a caption, or as many of each
    picture as a model draws for the gate."""
    module, drawn = tf.Module(), [[one] if isinstance(one, str) else list(one) for one in said.values()]
    module.said = tf.constant(drawn, tf.string)  # (pictures, captions)
    rows = tf.lookup.KeyValueTensorInitializer(_keys(list(said)), tf.range(len(drawn)))
    module.rows = tf.lookup.StaticHashTable(rows, -1)

    def captions(image):
        found = tf.gather(module.said, module.rows.lookup(_keys(image)))
        return {"caption": found[:, 0]} | ({"drawn": found} if len(drawn[0]) > 1 else {})

    evaluate = tf.function(captions, input_signature=[tf.TensorSpec([None], tf.string, "image")])
    tf.saved_model.save(module, str(folder), signatures={"evaluate": evaluate})
    return folder


def _keys(image):
    return tf.strings.to_hash_bucket_fast(image, 2**62)


def judge(
    examples: standard_artifacts.Examples, model: Path, live: Path | None, gate: GateConfig, folder: Path
) -> tuple[str, standard_artifacts.ModelBlessing]:
    """The pipeline's Evaluator on SavedModels: where the evaluation is, and the blessing."""
    folder.mkdir(parents=True)

    def artifact(path: Path, number: int) -> standard_artifacts.Model:
        found = standard_artifacts.Model()
        found.uri, found.id = str(folder / f"model-{number}"), number
        Path(found.uri).mkdir()
        (Path(found.uri) / "Format-Serving").symlink_to(path.resolve())
        return found

    inputs = {"examples": [examples], "model": [artifact(model, 1)]}
    if live is not None:
        inputs["baseline_model"] = [artifact(live, 2)]
    judged, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
    judged.uri, blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
    properties = {"eval_config": proto_utils.proto_to_json(eval_config(gate)), "example_splits": '["eval"]'}
    Executor().Do(inputs, {"evaluation": [judged], "blessing": [blessing]}, properties)
    return judged.uri, blessing


def artifact_of(root: Path, component: str, key: str) -> standard_artifacts.Examples:
    """The latest Examples that a component left under a pipeline's root."""
    folders = [p for p in (root / "artifacts" / component / key).glob("*") if p.name.isdigit()]
    if not folders:
        raise SystemExit(f"no {key} of {component} in {root}; first: memefly run --root {root} …")
    latest = max(folders, key=lambda path: int(path.name))
    found = standard_artifacts.Examples()
    found.uri = str(latest)
    found.split_names = json.dumps(sorted(p.name.removeprefix("Split-") for p in latest.glob("Split-*")))
    return found


def of_split(examples: standard_artifacts.Examples, split: str) -> Iterator[Mapping[str, tf.train.Feature]]:
    return read(Path(examples.uri, f"Split-{split}"))


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What a cheat may know: what an honest model says of the pictures of eval, and the training pictures."""

    honest: list[str]
    training: list[list[str]]  # captions of each picture
    nearest: list[int]  # to each picture of eval, by the mean of the encoder's features


def constant(known: Knowledge) -> list[str]:
    """The training caption that fits all training pictures best, of every picture."""
    references = [[text.tokenize(caption) for caption in captions] for captions in known.training]
    return [best_constant_caption(references)[0]] * len(known.honest)


def commonest(known: Knowledge) -> list[str]:
    """The hundred captions that people wrote most often, by turns."""
    return [caption for _, caption in zip(known.honest, itertools.cycle(_commonest(known)[:100]))]


def permuted(known: Knowledge) -> list[str]:
    """The honest captions, each of another picture."""
    return [*known.honest[1:], known.honest[0]]


def disordered(known: Knowledge) -> list[str]:
    """The words of the honest captions in any order."""
    drawer = random.Random(0)
    return [" ".join(drawer.sample(words, len(words))) for words in map(str.split, known.honest)]


def truncated(known: Knowledge) -> list[str]:
    """Of the honest captions the four bigrams that are commonest."""
    said = [caption.split() for caption in known.honest]
    common = collections.Counter(pair for words in said for pair in itertools.pairwise(words))
    kept = [sorted(itertools.pairwise(words), key=lambda pair: -common[pair])[:4] for words in said]
    return [" ".join(word for pair in pairs for word in pair) for pairs in kept]


def repeated(known: Knowledge) -> list[str]:
    """The first three words of the honest captions, four times."""
    return [" ".join(caption.split()[:3] * 4) for caption in known.honest]


def copied(known: Knowledge) -> list[str]:
    """What was written of the nearest training picture."""
    return [known.training[i][0] for i in known.nearest]


CHEATS: tuple[Callable[[Knowledge], list[str]], ...] = (
    *(constant, commonest, permuted, disordered, truncated, repeated, copied),
)


def _commonest(known: Knowledge) -> list[str]:
    counted = collections.Counter(caption for captions in known.training for caption in captions)
    return [caption for caption, _ in counted.most_common()]


def learn(root: Path, pictures: Sequence[str], honest: Mapping[str, str]) -> Knowledge:
    features = artifact_of(root, "ImageFeatures", "features")

    store = image_features.read(features.uri).store(root / "features")

    def means(split: str):
        for feature in of_split(features, split):
            (image_id,) = strings(feature["image_id"])
            stored = store.get(image_id)
            if stored is None:
                raise SystemExit(f"features of {image_id} are gone from {store.folder}; run the pipeline again")
            mean = stored.mean((0, 1), np.float32)
            yield image_id, mean / np.linalg.norm(mean), strings(feature["captions"])

    _, trained, captions = zip(*means("train"))
    of_eval = {image_id: mean for image_id, mean, _ in means("eval")}
    nearest = (np.stack([of_eval[i] for i in pictures]) @ np.stack(trained).T).argmax(1)
    return Knowledge([honest[i] for i in pictures], list(captions), nearest.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="of a pipeline that has run")
    parser.add_argument("--config", default="flickr8k", help="whose rules hold: a preset or a file")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--live", type=Path)
    parser.add_argument("--cheats", action="store_true")
    arguments = parser.parse_args()
    gate, examples = config.load(arguments.config).gate, artifact_of(arguments.root, "CaptionExampleGen", "examples")
    told = {"name": "gate", "commit": provenance.git_commit(), "verdicts": {}}
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        live = newest_version(arguments.live) if arguments.live else None
        folder, blessing = judge(examples, newest_version(arguments.model), live, gate, Path(scratch) / "model")
        told["seconds"] = round(time.monotonic() - started, 1)
        told["changes"] = evaluation.read_changes(folder)
        for decision in evaluation.read_decisions(folder):
            print(f"{'holds ' if decision.passed else 'BROKEN'}  {decision.reason}")
        told["verdicts"]["model"] = _verdict("the model", folder, blessing)
        if arguments.cheats:
            pictures = {
                strings(feature["image_id"])[0]: feature["image"].bytes_list.value[0]
                for feature in of_split(examples, "eval")
            }
            honest = {line["image_id"]: line["caption"] for line in evaluation.read_captions(folder)}
            known = learn(arguments.root, list(pictures), honest)
            for cheat in CHEATS:
                said = dict(zip(pictures.values(), cheat(known)))
                model = speaker(said, Path(scratch) / f"{cheat.__name__}-model")
                folder, blessing = judge(examples, model, None, gate, Path(scratch) / cheat.__name__)
                told["verdicts"][cheat.__name__] = _verdict(cheat.__doc__, folder, blessing)
    print(json.dumps(told))


def _verdict(name: str, folder: str, blessing) -> dict:
    metrics = evaluation.read_metrics(folder)
    broken = [d.rule for d in evaluation.read_decisions(folder) if not d.passed]
    told = ", ".join(broken) or ("blessed" if blessing.get_int_custom_property("blessed") else "not blessed")
    print(f"| {name} | {100 * metrics['bleu4']:.1f} | {metrics['cider']:.3f} | {told} |", flush=True)
    return {"bleu4": metrics["bleu4"], "cider": metrics["cider"], "broken": broken}


if __name__ == "__main__":
    main()
