"""The pipeline's own gate on models that look at their pictures, and what it writes down of its decisions."""

import json
from pathlib import Path

import pytest
from scenes import SUBJECTS, World

from components.caption_metrics import evaluation
from memefly import text
from memefly.metrics import Corpus, compare, novelty


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), pictures=120)


@pytest.fixture(scope="module")
def better(world):
    """A better model than the live one."""
    return world.judge(world.honest(0.1), live=world.honest(0.4, seed=2))


@pytest.mark.once
def test_a_better_model_passes(better):
    folder, blessing = better
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("reason") == "every rule holds"
    decisions = evaluation.read_decisions(folder)
    assert all(decision.passed for decision in decisions)
    assert {d.rule for d in decisions} == {
        *("floors.bleu4", "floors.bleu4_gain", "floors.cider_gain", "floors.distinct_share", "floors.valid_share"),
        *("ceilings.copied_share", "regressions.bleu4", "regressions.cider"),
    }
    written = json.loads(blessing.get_string_custom_property("decisions"))
    assert {d["rule"] for d in written} == {d.rule for d in decisions}
    metrics, live = evaluation.read_metrics(folder), evaluation.read_metrics(folder, "baseline")
    (change,) = [d for d in decisions if d.rule == "regressions.cider"]
    assert (change.threshold, change.baseline) == (0.01, live["cider"])
    assert change.value == pytest.approx(metrics["cider"] - live["cider"])


def test_figures_are_the_librarys(world, better):
    folder, _ = better
    references = [[text.tokenize(c) for c in world.captions(scene)] for scene in world.eval]
    said = [text.tokenize(c) for c in world.honest(0.1)]
    live = [text.tokenize(c) for c in world.honest(0.4, seed=2)]
    corpus = Corpus.of(references, said)
    metrics = evaluation.read_metrics(folder)
    assert {name: metrics[name] for name in corpus.score()} == pytest.approx(corpus.score())
    training = [text.tokenize(c) for scene in world.train for c in world.captions(scene)]
    assert metrics["copied_share"] == pytest.approx(novelty(said, training).score()["copied_share"])
    changes, expected = evaluation.read_changes(folder), compare(corpus, Corpus.of(references, live))
    for score, change in changes.items():
        assert change["value"] == pytest.approx(expected[score].value)
        # The same pictures in another order are other draws of the bootstrap.
        width = expected[score].high - expected[score].low
        assert change["low"] == pytest.approx(expected[score].low, abs=0.15 * width)
        assert change["high"] == pytest.approx(expected[score].high, abs=0.15 * width)


def test_slices_are_shown_and_captions_kept(world, better):
    folder, _ = better
    slices = evaluation.read_slices(folder)
    of_groups = {s["value"]: s for s in slices if s["by"] == "group"}
    counted = {subject: sum(s.subject == subject for s in world.eval) for subject in SUBJECTS}
    assert {subject: s["pictures"] for subject, s in of_groups.items()} == {k: v for k, v in counted.items() if v}
    assert {s["by"] for s in slices} == {"group", "captions_per_picture", "caption_length"}
    for one in slices:
        low, high = one["intervals"]["bleu4"]
        assert low <= one["metrics"]["bleu4"] <= high and one["baseline"]["bleu4"] <= 1
    subject, scenes = "dog", [i for i, s in enumerate(world.eval) if s.subject == "dog"]
    references = [[text.tokenize(c) for c in world.captions(world.eval[i])] for i in scenes]
    said = world.honest(0.1)
    expected = Corpus.of(references, [text.tokenize(said[i]) for i in scenes]).score()
    assert {name: of_groups[subject]["metrics"][name] for name in expected} == pytest.approx(expected)

    lines = {line["image_id"]: line for line in evaluation.read_captions(folder)}
    assert [lines[f"eval {i}"]["caption"] for i in range(len(said))] == said
    assert [lines[f"eval {i}"]["live"] for i in range(len(said))] == world.honest(0.4, seed=2)
    assert lines["eval 0"]["references"] == world.captions(world.eval[0])


@pytest.mark.once
def test_chance_alone_neither_blocks_nor_counts_as_better(world):
    """Two models that are as good as one another, the candidate a little worse by chance."""
    one, other = world.honest(0.2, seed=3), world.honest(0.2, seed=4)
    folder, blessing = world.judge(one, live=other, regressions={"bleu4": 0.0, "cider": 0.0, "chrf": 0.0})
    changes = evaluation.read_changes(folder)
    assert all(change["low"] < 0 < change["high"] for change in changes.values())
    assert any(change["value"] < 0 for change in changes.values())
    assert blessing.get_int_custom_property("blessed") == 1
    _, blessing = world.judge(other, live=one, improvements={"cider": 0.0})
    assert blessing.get_int_custom_property("blessed") == 0
    assert "gate.improvements.cider" in blessing.get_string_custom_property("reason")


@pytest.mark.once
def test_what_is_surely_worse_is_not_blessed_and_the_slices_are_named(world):
    """Worse everywhere, and without a sense for dogs: their slice fails a floor that others hold."""
    said = world.honest(0.1)
    said = ["a clown eats" if scene.subject == "dog" else caption for scene, caption in zip(world.eval, said)]
    rules = {"group": {"floors": {"bleu4": 0.3}, "regressions": {"bleu4": 0.1}}}
    folder, blessing = world.judge(said, live=world.honest(0.0), slices=rules, min_pictures=5)
    failed = {(d.rule, d.slice) for d in evaluation.read_decisions(folder) if not d.passed}
    assert blessing.get_int_custom_property("blessed") == 0
    assert {("regressions.bleu4", ""), ("regressions.cider", "")} <= failed
    assert [s for rule, s in failed if rule == "slices.group.floors.bleu4"] == ["group dog"]
    assert ("slices.group.regressions.bleu4", "group dog") in failed
    assert "group dog: bleu4 is" in blessing.get_string_custom_property("reason")


@pytest.mark.once
def test_a_rule_on_slices_that_are_not_there_blocks_and_says_so(tmp_path):
    world = World(tmp_path, pictures=20, training=20, grouped=False)
    folder, blessing = world.judge(world.honest(0.0), slices={"group": {"floors": {"bleu4": 0.1}}})
    assert blessing.get_int_custom_property("blessed") == 0
    (failed,) = [d for d in evaluation.read_decisions(folder) if not d.passed]
    assert failed.reason == (
        "no group has 10 pictures in eval (gate.min_pictures), so gate.slices.group.floors.bleu4 cannot be judged; "
        "lower the one or take the other away"
    )


@pytest.mark.once
def test_a_rule_about_a_live_model_waits_for_one(tmp_path):
    """Also where there are no groups: without a live model it is not asked."""
    world = World(tmp_path, pictures=20, training=20, grouped=False)
    folder, blessing = world.judge(world.honest(0.0), slices={"group": {"regressions": {"bleu4": 0.1}}})
    assert blessing.get_int_custom_property("blessed") == 1
    assert not [d for d in evaluation.read_decisions(folder) if "regressions" in d.rule]


@pytest.mark.once
def test_slices_too_small_to_judge_do_not_pass_for_judged(tmp_path):
    world = World(tmp_path, pictures=20, training=20)
    folder, blessing = world.judge(world.honest(0.0), slices={"group": {"floors": {"bleu4": 0.1}}})
    (failed,) = [d for d in evaluation.read_decisions(folder) if not d.passed]
    assert failed.reason.startswith("no group has 10 pictures in eval")
    assert blessing.get_int_custom_property("blessed") == 0 and not list(Path(blessing.uri).glob("BLESSED"))


@pytest.mark.once
def test_characters_that_end_lines_elsewhere(tmp_path):
    """U+2028, U+0085 and quotes in captions and groups."""
    odd = '\u2028\u0085"<b>'
    world = World(tmp_path, pictures=12, training=12, odd=odd)
    folder, _ = world.judge(world.honest(0.0), live=world.honest(0.5))
    assert len(evaluation.read_captions(folder)) == 12
    groups = [one["value"] for one in evaluation.read_slices(folder) if one["by"] == "group"]
    assert groups and all(group.endswith(odd) for group in groups)


@pytest.mark.once
def test_one_picture_is_not_enough_to_compare(tmp_path):
    world = World(tmp_path, pictures=1, training=5)
    _, blessing = world.judge(world.honest(0.9), live=world.honest(0.0), floors={"bleu4": 0.0})
    assert blessing.get_int_custom_property("blessed") == 0
