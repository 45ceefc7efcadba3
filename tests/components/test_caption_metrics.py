"""The TFMA metric against the library's own functions, however Beam parts the data."""

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import metric_types

from components.caption_metrics import training
from components.caption_metrics.captions import CaptionMetrics
from components.caption_metrics.names import PLAIN, SCORES
from memefly import text
from memefly.metrics import best_constant_caption, score, self_bleu
from pipeline.config import GateConfig
from pipeline.gate import eval_config

REFERENCES = [
    ["a man rides a horse on the beach", "a man on a horse by the sea"],
    ["two dogs play in the snow", "dogs are playing in the snow", "snow and dogs"],
    ["a child in a red jacket jumps off a wall"],
    ["one does not simply walk into the office", "not simply an office"],
    ["a man on a beach with two dogs"],
    ["a red jacket on the beach"],
    ["two dogs and a child on a wall"],
]
HYPOTHESES = [
    "a man riding a horse on the beach", "two dogs play in the snow", "a child in a jacket",
    "one does not simply walk", "a man on a beach", "a red wall", "two dogs play in the snow",
]  # fmt: skip


LIVE = [
    "a man rides a horse", "two dogs in the snow", "a child in a red jacket jumps", "an office",
    "a man with two dogs", "a red jacket", "a child on a wall",
]  # fmt: skip


def inputs(i: int) -> dict:
    """Extracts of one picture, as the Evaluator hands them to a metric."""
    return {
        "labels": np.array([r.encode() for r in REFERENCES[i]], dtype=object),
        "predictions": np.array([HYPOTHESES[i].encode()], dtype=object),
    }


def evaluate(parts: int, hypotheses=None) -> dict[str, float]:
    (computation,) = CaptionMetrics().computations()
    combiner = computation.combiner
    accumulators = []
    for part in range(parts):
        accumulator = combiner.create_accumulator()
        for i in range(part, len(REFERENCES), parts):
            element = inputs(i)
            if hypotheses:
                element["predictions"] = np.array([hypotheses[i].encode()], dtype=object)
            accumulator = combiner.add_input(accumulator, metric_types.StandardMetricInputs(element))
        accumulators.append(accumulator)
    values = combiner.extract_output(combiner.merge_accumulators(accumulators))
    return {key.name: value for key, value in values.items()}


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_equals_the_library_however_the_data_is_parted(parts):
    values = evaluate(parts)
    expected = score(REFERENCES, HYPOTHESES)
    assert {*SCORES, *PLAIN} <= set(values)
    assert all(values[f"{score}_low"] <= values[score] <= values[f"{score}_high"] for score in SCORES)
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    cut = [[text.tokenize(r) for r in group] for group in REFERENCES]
    constant = best_constant_caption(cut, [text.tokenize(h) for h in HYPOTHESES])[1]
    assert values["constant_bleu4"] == pytest.approx(constant, rel=1e-12)
    assert values["bleu4_gain"] == pytest.approx(expected["bleu4"] - constant, rel=1e-9)
    assert values["distinct_captions"] == 6
    assert values["self_bleu4"] == pytest.approx(self_bleu([text.tokenize(h) for h in HYPOTHESES]), rel=1e-12)
    assert values["pictures"] == len(REFERENCES)
    assert values == pytest.approx(evaluate(1), rel=0, abs=0, nan_ok=True), "not a bit depends on the parts"


def evaluate_beside_live(parts: int, training: str) -> dict[str, float]:
    (computation,) = CaptionMetrics(training=training, min_pictures=2).computations(
        eval_config=eval_config(GateConfig.model_validate({})), model_names=["candidate"]
    )
    combiner, accumulators = computation.combiner, []
    for part in range(parts):
        accumulators.append(combiner.create_accumulator())
        for i in range(part, len(REFERENCES), parts):
            said = {"candidate": HYPOTHESES[i], "baseline": LIVE[i]}
            element = metric_types.StandardMetricInputs(
                labels=dict.fromkeys(said, inputs(i)["labels"]),
                predictions={m: {"caption": np.array([c.encode()], dtype=object)} for m, c in said.items()},
                features={"group": np.array([], dtype=object)},
            )
            accumulators[-1] = combiner.add_input(accumulators[-1], element)
    values = combiner.extract_output(combiner.merge_accumulators(accumulators))
    return {key.name: value for key, value in values.items()}


def test_beside_a_live_model_however_the_data_is_parted(tmp_path):
    file = str(tmp_path / training.FILE)
    training.write(file, [("", "two dogs play in the snow"), ("", "a cat")])
    values = evaluate_beside_live(1, file)
    ours, theirs = score(REFERENCES, HYPOTHESES), score(REFERENCES, LIVE)
    for name in SCORES:
        assert values[f"{name}_change"] == pytest.approx(ours[name] - theirs[name])
        assert values[f"{name}_change_low"] <= values[f"{name}_change_high"]
        assert values[f"{name}_regression"] >= values[f"{name}_sure_regression"]
    assert values["copied_share"] == pytest.approx(2 / 7)
    assert np.isnan(values["template_recall"]), "there are no groups"
    for parts in (2, 7):
        again = evaluate_beside_live(parts, file)
        assert again == pytest.approx(values, rel=0, abs=0, nan_ok=True), "not a bit depends on the parts"


def test_one_sentence_for_every_picture_gains_nothing():
    for said in ("two dogs play in the snow", "a man on a beach", "something quite else"):
        assert evaluate(3, [said] * len(REFERENCES))["bleu4_gain"] <= 1e-12
