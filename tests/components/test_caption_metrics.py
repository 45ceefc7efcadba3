"""The TFMA metric against the library's own functions, however Beam parts the data."""

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import metric_types

from components.caption_metrics import training
from components.caption_metrics.captions import FORESEEN, CaptionMetrics
from components.caption_metrics.names import FORESIGHT, PLAIN, SCORES
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
BY_WORDS = [score for score in SCORES if score not in FORESIGHT]

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
    assert all(values[f"{score}_low"] <= values[score] <= values[f"{score}_high"] for score in BY_WORDS)
    assert all(np.isnan(values[name]) for name in FORESIGHT), "nobody asked"
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
    for name in BY_WORDS:
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


def foresee(ours: list[float], theirs: list[float] | None) -> dict[str, float]:
    """Two models' bits of each picture's captions, 10 characters each; without the picture they need 30."""
    (computation,) = CaptionMetrics(foresight=True).computations(
        eval_config=eval_config(GateConfig.model_validate({})), model_names=["candidate"]
    )
    combiner, pictures = computation.combiner, []
    for i, both in enumerate(zip(ours, theirs) if theirs else zip(ours)):
        names = ("candidate", "baseline")
        element = metric_types.StandardMetricInputs(
            labels=dict.fromkeys(names, inputs(i)["labels"]),
            predictions={name: {"caption": inputs(i)["predictions"]} for name in names},
            features={f"{FORESEEN}{name}": np.array([bits, 10, 30, 10]) for name, bits in zip(names, both)},
        )
        pictures = combiner.add_input(pictures, element)
    return {key.name: value for key, value in combiner.extract_output(pictures).items()}


def test_bits_are_compared_with_the_live_models_and_fewer_are_better():
    ours, theirs = [20.0, 18, 22, 20, 19, 21, 20], [21.0, 20, 23, 22, 20, 23, 21]
    values = foresee(ours, theirs)
    assert values["bits_a_character"] == pytest.approx(2.0) and values["bits_unseen"] == 3.0
    assert values["looking_gain"] == pytest.approx(1.0)
    assert values["bits_a_character_change"] == pytest.approx(-10 / 70)
    assert values["bits_a_character_low"] < 2.0 < values["bits_a_character_high"]
    assert values["bits_a_character_improvement"] == pytest.approx(10 / 70)
    assert values["bits_a_character_regression"] == 0.0
    alone = foresee(ours, None)
    assert np.isnan(alone["bits_a_character_regression"]), "a live model that cannot tell lets no rule hold"
    assert alone["bits_a_character"] == values["bits_a_character"] and alone["bleu4_regression"] == 0.0
    worse = foresee(theirs, ours)
    assert worse["bits_a_character_regression"] == pytest.approx(10 / 70)
    assert worse["bits_a_character_improvement"] == 0.0


def test_several_captions_of_each_picture_are_judged():
    (computation,) = CaptionMetrics().computations()
    combiner, pictures = computation.combiner, []
    for i in range(len(REFERENCES)):
        drawn = [HYPOTHESES[i], LIVE[i], LIVE[i]]
        element = inputs(i) | {"predictions": np.array([caption.encode() for caption in drawn], dtype=object)}
        pictures = combiner.add_input(pictures, metric_types.StandardMetricInputs(element))
    values = {key.name: value for key, value in combiner.extract_output(pictures).items()}
    assert values["pictures"] == len(REFERENCES) and values["captions"] == 3 * len(REFERENCES)
    assert values["bleu4"] == pytest.approx(score(REFERENCES, HYPOTHESES)["bleu4"]), "of the first"
    assert values["distinct_captions"] == len({*HYPOTHESES, *LIVE}), "of all"
