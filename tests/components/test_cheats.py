"""Cheats that have earned good scores elsewhere, before the pipeline's own gate (after arXiv 1806.06422)."""

import itertools
import random
from collections import Counter

import pytest
from scenes import World

from components.caption_metrics import evaluation

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.once]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), pictures=60, grouped=False)


def constant(world: World) -> list[str]:
    """The sentence that fits every picture best."""
    return ["a red dog runs in the park"] * len(world.eval)


def commonest(world: World) -> list[str]:
    """The captions that people wrote most often, by turns."""
    counted = Counter(caption for scene in world.train for caption in world.captions(scene))
    common = [caption for caption, _ in counted.most_common(20)]
    return [common[i % len(common)] for i in range(len(world.eval))]


def permuted(world: World) -> list[str]:
    """Good captions, each of another picture."""
    said = world.honest(0.05)
    return [*said[1:], said[0]]


def disordered(world: World) -> list[str]:
    """The right words in any order."""
    drawer = random.Random(0)
    return [" ".join(drawer.sample(words, len(words))) for words in map(str.split, world.honest(0.0))]


def truncated(world: World) -> list[str]:
    """Of the right caption, the two commonest bigrams."""
    said = [caption.split() for caption in world.honest(0.0)]
    common = Counter(pair for words in said for pair in itertools.pairwise(words))
    bigrams = [sorted(itertools.pairwise(words), key=lambda pair: -common[pair])[:2] for words in said]
    return [" ".join(word for pair in pairs for word in pair) for pairs in bigrams]


def repeated(world: World) -> list[str]:
    """What is surely right, again and again."""
    return [" ".join([f"the {scene.subject} in the {scene.place}"] * 3) for scene in world.eval]


def copied(world: World) -> list[str]:
    """A caption of the training picture that is most alike."""

    def alike(scene, other) -> int:
        return sum(vars(scene)[part] == vars(other)[part] for part in vars(scene))

    return [max(world.train, key=lambda other: alike(scene, other)).says(0) for scene in world.eval]


CHEATS = {
    constant: {"floors.bleu4_gain", "floors.cider_gain", "floors.distinct_share"},
    commonest: {"floors.bleu4_gain", "floors.cider_gain", "ceilings.copied_share"},
    permuted: {"floors.bleu4_gain", "floors.cider_gain"},
    disordered: {"floors.bleu4_gain"},
    truncated: {"floors.bleu4_gain"},
    repeated: {"floors.bleu4_gain", "floors.valid_share"},
    copied: {"ceilings.copied_share"},
}


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_no_cheat_is_blessed(world, cheat):
    folder, blessing = world.judge(cheat(world))
    failed = {decision.rule for decision in evaluation.read_decisions(folder) if not decision.passed}
    assert blessing.get_int_custom_property("blessed") == 0
    assert CHEATS[cheat] <= failed, evaluation.read_metrics(folder)
    assert all(rule in blessing.get_string_custom_property("reason") for rule in CHEATS[cheat])
