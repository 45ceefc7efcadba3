"""What the runner makes of the nodes' outputs: both judges must agree, in whichever order they come."""

from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.caption_metrics import evaluation
from components.caption_trainer.training import CHECKPOINTS, HISTORY
from pipeline import outcomes
from pipeline.summary import RunSummary


def artifact(**properties) -> metadata_store_pb2.Artifact:
    made = metadata_store_pb2.Artifact(uri="somewhere")
    for key, value in properties.items():
        field = "int_value" if isinstance(value, int) else "string_value"
        setattr(made.custom_properties[key], field, value)
    return made


@pytest.mark.parametrize("first", ["Evaluator", "ServingValidator"])
@pytest.mark.parametrize(("measured", "servable"), [(True, True), (True, False), (False, True), (False, False)])
def test_blessed_only_if_both_judges_say_so(monkeypatch, first, measured, servable):
    monkeypatch.setattr(outcomes.evaluations, "read_metrics", lambda *_: {"bleu4": 0.3})
    decision = evaluation.Decision("floors.bleu4", "", "bleu4", 0.3, 0.4, None, measured, "bleu4 is low")
    monkeypatch.setattr(outcomes.evaluations, "read_decisions", lambda _: [decision])
    for reader in ("read_intervals", "read_changes", "read_slices"):
        monkeypatch.setattr(outcomes.evaluations, reader, lambda _: {})
    outputs = {
        "Evaluator": {"evaluation": [artifact()], "blessing": [artifact(blessed=int(measured))]},
        "ServingValidator": {"blessing": [artifact(blessed=int(servable), reason="" if servable else "it breaks")]},
    }
    summary = RunSummary(run_id="r", started="now")
    for node in sorted(outputs, key=lambda name: name != first):
        outcomes.collect(node, "ran", outputs[node], summary, Path("root"))
    assert summary.blessed == (measured and servable)
    assert sorted(summary.gate) == ["bleu4 is low"] * (not measured) + ["serving: it breaks"] * (not servable)
    assert summary.judged


def test_a_trained_model_takes_only_its_own_checkpoints_with_it(tmp_path):
    trained, checkpoints = tmp_path / "model_run", tmp_path / "checkpoints"
    for folder in (trained, tmp_path / "runs" / "r", checkpoints / "ours" / "cross_entropy", checkpoints / "stopped"):
        folder.mkdir(parents=True)
    (trained / HISTORY).write_text("[]")
    (trained / CHECKPOINTS).write_text("ours")
    outputs = {"model_run": [metadata_store_pb2.Artifact(uri=str(trained))]}
    outcomes.collect("Trainer", "ran", outputs, RunSummary(run_id="r", started="now"), tmp_path)
    assert [folder.name for folder in checkpoints.iterdir()] == ["stopped"]
    (trained / CHECKPOINTS).write_text("stopped")
    outcomes.collect("Trainer", "cached", outputs, RunSummary(run_id="r", started="now"), tmp_path)
    assert not checkpoints.exists()
