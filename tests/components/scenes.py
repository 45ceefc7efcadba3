"""A small world whose pictures are known: scenes, five captions that people might write of each, and models that say
what they are told to. For the gate, which judges what models say and never looks at a picture."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tfx.types import standard_artifacts

from benchmarks.gate import judge, speaker
from pipeline.config import GateConfig

SUBJECTS = ["dog", "cat", "man", "woman", "boy", "girl", "horse", "bird", "clown", "robot"]
COLOURS = ["red", "blue", "green", "brown", "black", "white", "yellow", "grey"]
ACTIONS = ["runs", "jumps", "sleeps", "eats", "dances", "plays", "sits", "stands", "swims", "waits"]
PLACES = ["beach", "park", "street", "kitchen", "snow", "field", "river", "garden", "bridge", "stage"]
SAYINGS = (
    "a {colour} {subject} {action} in the {place}",
    "the {subject} in {colour} {action} near a {place}",
    "there is a {subject} that {action} by the {place}",
    "in the {place} a {colour} {subject} {action}",
    "one {subject} {action} while people watch from the {place}",
)


@dataclass(frozen=True)
class Scene:
    subject: str
    colour: str
    action: str
    place: str

    def says(self, saying: int) -> str:
        return SAYINGS[saying].format(**vars(self))

    def misread(self, drawer: random.Random, chance: float) -> Scene:
        """The scene as somebody sees it who takes each part of it for another with some chance."""
        parts = zip(vars(self).items(), (SUBJECTS, COLOURS, ACTIONS, PLACES))
        return Scene(**{n: drawer.choice(all_) if drawer.random() < chance else v for (n, v), all_ in parts})


class World:
    def __init__(self, folder: Path, pictures: int = 150, training: int = 300, grouped: bool = True, odd: str = ""):
        """`odd` ends every caption and group."""
        drawer = random.Random(0)
        drawn = [Scene(*map(drawer.choice, (SUBJECTS, COLOURS, ACTIONS, PLACES))) for _ in range(pictures + training)]
        self.eval, self.train, self._folder = drawn[:pictures], drawn[pictures:], folder
        self._judged = 0
        self._examples = write_examples(
            folder / "examples",
            {
                split: [
                    (f"{split} {i}", [c + odd for c in self.captions(scene)], scene.subject + odd if grouped else "")
                    for i, scene in enumerate(scenes)
                ]
                for split, scenes in (("train", self.train), ("eval", self.eval))
            },
        )

    def captions(self, scene: Scene) -> list[str]:
        return [scene.says(saying) for saying in range(len(SAYINGS))]

    def honest(self, chance: float, seed: int = 1) -> list[str]:
        """A model that looks, and takes each part of a scene for another with some chance."""
        drawer = random.Random(seed)
        return [scene.misread(drawer, chance).says(drawer.choice((0, 1, 3))) for scene in self.eval]

    def judge(self, candidate: list[str], live: list[str] | None = None, **gate):
        """What the pipeline's own Evaluator makes of models that say so: the folder of the evaluation, the blessing."""
        self._judged += 1
        folder = self._folder / str(self._judged)
        keys = [f"eval {i}".encode() for i in range(len(self.eval))]
        models = [
            None if said is None else speaker(dict(zip(keys, said)), folder / name)
            for name, said in (("candidate", candidate), ("live", live))
        ]
        return judge(self._examples, *models, GateConfig.model_validate(gate), folder / "judged")


def write_examples(folder: Path, splits: dict[str, list[tuple[str, list[str], str]]]) -> standard_artifacts.Examples:
    """By split the pictures in it: what each is called, its captions and its group."""
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.split_names = str(folder), json.dumps(list(splits))
    for split, pictures in splits.items():
        path = folder / f"Split-{split}" / "data.gz"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for picture in pictures:
                writer.write(example_of(*picture))
    return artifact


def example_of(image_id: str, captions: list[str], group: str, image: bytes | None = None) -> bytes:
    """`image`: the picture's bytes, for a model that looks at them."""

    def feature(*values: str | bytes) -> tf.train.Feature:
        encoded = [v if isinstance(v, bytes) else v.encode() for v in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))

    values = {"image_id": feature(image_id), "image": feature(image or image_id), "captions": feature(*captions)}
    values |= {"group": feature(group), "source": feature(f"{image_id}.png")}
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()
