"""Cheats in their meme forms, before the gate of the preset `memes`: a template's captions are all different jokes, so
what is said of it is held against what people say (see `memefly.metrics.learnt`)."""

import random
from collections import Counter

import pytest
from meme_scenes import TEMPLATES, MemeWorld

from components.caption_metrics import evaluation
from components.caption_metrics.names import FORESIGHT
from pipeline import config

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.once]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> MemeWorld:
    return MemeWorld(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def gate():
    """Without the rules on how well captions are foreseen: a model that says what it is told to foresees nothing."""
    rules = config.load("memes").gate
    kept = {
        kind: {name: None if name in FORESIGHT else bound for name, bound in getattr(rules, kind).items()}
        for kind in ("floors", "ceilings", "regressions")
    }
    nothing = {kind: dict.fromkeys(config.GATE[kind]) for kind in kept}
    return config.GateConfig.model_validate({kind: nothing[kind] | kept[kind] for kind in kept})


def honest(world: MemeWorld, drawer: random.Random) -> dict[str, list[str]]:
    return {template: world.honest(template, drawer) for template in TEMPLATES}


def of_another(said: dict[str, list[str]]) -> dict[str, list[str]]:
    names = list(said)
    return dict(zip([*names[1:], names[0]], said.values()))


def commonest(world, drawer):
    """The captions that people wrote most often on the template."""
    return {t: [c for c, _ in Counter(world.train[t]).most_common(world.DRAWN)] for t in TEMPLATES}


def commonest_of_another(world, drawer):
    return of_another(commonest(world, drawer))


def of_another_template(world, drawer):
    """Good jokes, each on the wrong picture."""
    return of_another(honest(world, drawer))


def shuffled(world, drawer):
    """The right words in any order, the boxes as they are."""

    def shuffle(caption: str) -> str:
        words = caption.split()
        drawer.shuffle(words)
        boxes = [[words.pop() for _ in box.split()] for box in caption.split("\n")]
        return "\n".join(" ".join(box) for box in boxes)

    return {t: [shuffle(caption) for caption in said] for t, said in honest(world, drawer).items()}


def spliced(world, drawer):
    """The first half of what somebody wrote, and the second of what another did."""

    def splice(first: str, second: str) -> str:
        a, b = first.split(" "), second.split(" ")
        return " ".join([*a[: len(a) // 2], *b[len(b) // 2 :]])

    return {t: [splice(*drawer.sample(world.train[t], 2)) for _ in range(world.DRAWN)] for t in TEMPLATES}


def copied(world, drawer):
    """What people wrote on the template, each time another."""
    return {t: drawer.sample(world.train[t], world.DRAWN) for t in TEMPLATES}


def one_joke(world, drawer):
    """One good joke a template, again and again."""
    return {t: said[:1] * world.DRAWN for t, said in honest(world, drawer).items()}


def stammering(world, drawer):
    """A joke that starts over and over."""
    return {t: [" ".join([*c.split()[:4], *c.split()]) for c in said] for t, said in honest(world, drawer).items()}


def one_box(world, drawer):
    """Everything in three boxes."""
    return {t: [c.replace("\n", " ").replace(" ", "\n", 2) for c in said] for t, said in honest(world, drawer).items()}


CHEATS = {
    commonest: {"ceilings.copied_share"},
    commonest_of_another: {"ceilings.copied_share", "floors.template_recall_excess"},
    of_another_template: {"floors.template_recall_excess"},
    shuffled: {"ceilings.ngram_bits_excess"},
    spliced: {"ceilings.spliced_share_excess"},
    copied: {"ceilings.copied_share"},
    one_joke: {"floors.distinct_share"},
    stammering: {"ceilings.repetition_excess"},
    one_box: {"floors.boxes_share"},
}


def test_jokes_of_ones_own_are_blessed(world, gate):
    folder, blessing = world.judge(honest(world, random.Random(1)), gate)
    assert blessing.get_string_custom_property("reason") == "every rule holds", evaluation.read_metrics(folder)
    assert blessing.get_int_custom_property("blessed") == 1
    captions = evaluation.read_captions(folder)
    assert [one["drawn"] for one in captions] == [
        honest(world, random.Random(1))[one["image_id"]] for one in captions
    ] and all(one["caption"] == one["drawn"][0] for one in captions)


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_no_cheat_is_blessed(world, gate, cheat):
    folder, blessing = world.judge(cheat(world, random.Random(2)), gate)
    failed = {decision.rule for decision in evaluation.read_decisions(folder) if not decision.passed}
    assert blessing.get_int_custom_property("blessed") == 0
    assert CHEATS[cheat] <= failed, evaluation.read_metrics(folder)
