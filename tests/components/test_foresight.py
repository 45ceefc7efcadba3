"""How well a model of ours foresees captions, told by the pipeline's own Evaluator as by `memefly evaluate`."""

import pytest
import tensorflow as tf
from scenes import example_of
from tfx.types import standard_artifacts

from benchmarks.gate import judge
from components.caption_metrics import evaluation as evaluations
from memefly import evaluation
from memefly.datasets.splits import Splitting
from pipeline.config import GateConfig

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.once]


@pytest.fixture(scope="module")
def examples(memes):
    return evaluation.read(memes, "eval", Splitting({"train": 8, "val": 1, "eval": 1}))


def test_the_gate_tells_what_looking_is_worth(exported, examples, tmp_path):
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.split_names = str(tmp_path / "examples"), '["train", "eval"]'
    for split in ("train", "eval"):
        path = tmp_path / "examples" / f"Split-{split}" / "data.gz"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for image, picture, written in zip(examples.images, examples.pictures, examples.written):
                writer.write(example_of(image, written, "", picture))
    gate = GateConfig(floors={"looking_gain": 100}, regressions={"bits_a_character": 0.0})
    expected = evaluation.evaluate(exported, examples).metrics
    for live in (None, exported):
        folder, blessing = judge(artifact, exported, live, gate, tmp_path / f"live {live is not None}")
        told = evaluations.read_metrics(folder)
        for name in ("bits_a_character", "bits_unseen"):
            assert told[name] == pytest.approx(expected[name], rel=1e-5)
        assert told["looking_gain"] == pytest.approx(told["bits_unseen"] - told["bits_a_character"])
        decisions = {d.rule: d for d in evaluations.read_decisions(folder)}
        assert not decisions["floors.looking_gain"].passed and blessing.get_int_custom_property("blessed") == 0
    assert decisions["regressions.bits_a_character"].passed and "more is tolerated" in (
        decisions["regressions.bits_a_character"].reason
    )
    assert evaluations.read_changes(folder)["bits_a_character"]["value"] == 0.0
