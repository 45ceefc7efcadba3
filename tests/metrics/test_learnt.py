import math

import pytest

from memefly.metrics import novelty, repetition
from memefly.metrics.kneser_ney import KneserNey
from memefly.metrics.learnt import Learnt, Saying, as_many

LEARNT = {
    "doge": ["such cat\nmuch wow", "very dog\nmuch wow", "such code\nwow wow", "much python"],
    "grumpy": ["i had fun once it was awful", "good morning no", "i smiled once it was awful"],
}
HELD_BACK = {"doge": ["such test\nvery wow", "much cat\nwow"], "grumpy": ["i had hope once it was awful", "no"]}


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    return Learnt(Saying.of(caption, group) for group, captions in LEARNT.items() for caption in captions)


def sayings(captions: dict[str, list[str]]) -> list[list[Saying]]:
    return [[Saying.of(caption, group) for caption in row] for group, row in captions.items()]


def words(captions: dict[str, list[str]]) -> list[list[str]]:
    return [caption.split() for row in captions.values() for caption in row]


def test_what_is_said_is_told_beside_what_people_say(learnt):
    said = {"doge": ["wow wow wow wow", "such cat\nmuch wow"], "grumpy": ["such cat no", "i had fun once it was bad"]}
    found = learnt.score(sayings(said), sayings(HELD_BACK))
    assert found["repetition"] == pytest.approx(repetition(words(said))) == pytest.approx(2 / 3 / 4)
    assert found["people_repetition"] == 0.0 and found["repetition_excess"] == found["repetition"]
    assert found["copied_share"] == 1 / 4
    near = novelty(words(said), words(LEARNT)).similarity
    assert found["nearest_similarity"] == pytest.approx(near.mean())
    assert found["near_copied_share"] == 1 / 4, "the last: another word of seven"
    assert found["template_recall"] == 3 / 4 and found["people_template_recall"] == 1.0
    assert found["template_recall_excess"] == -1 / 4
    assert found["boxes_share"] == 1.0, "a doge has one box or two, as a quarter of them has"
    held_back = KneserNey(words(HELD_BACK))
    assert found["ngram_bits"] == pytest.approx(math.log2(held_back.perplexity(words(said))))
    assert found["people_ngram_bits"] > 0


def test_the_order_in_which_they_come_changes_nothing(learnt):
    said = sayings({"doge": ["wow wow wow wow", "such cat\nmuch wow"], "new": ["such cat no"]})
    held_back = sayings({"doge": HELD_BACK["doge"], "new": HELD_BACK["grumpy"]})
    assert Learnt(reversed(learnt.captions)).score(said, held_back) == learnt.score(said, held_back)
    assert Learnt(learnt.captions[3:] + learnt.captions[:3]).score(said, held_back) == learnt.score(said, held_back)


def test_the_wrong_number_of_boxes_is_told(learnt):
    said = {"doge": ["such cat much\nwow\nwow"], "grumpy": ["good\nmorning"]}
    found = learnt.score(sayings(said), sayings(HELD_BACK))
    assert found["boxes_share"] == 0.0 and found["people_boxes_share"] == 1.0


def test_without_groups_nothing_is_told_of_templates():
    learnt = Learnt(Saying.of(caption) for caption in LEARNT["grumpy"])
    found = learnt.score([[Saying.of("no")]], [[Saying.of("no"), Saying.of("good morning")]])
    assert not {"template_recall", "boxes_share"} & set(found) and found["copied_share"] == 0.0
    assert Learnt([]).score([[Saying.of("no")]], [[Saying.of("no")]]) == {}


def test_groups_that_are_new_are_not_asked_for_their_template(learnt):
    said = {"new": ["such cat"], "doge": ["such cat"]}
    found = learnt.score(sayings(said), sayings({"new": ["oh no"], "doge": ["such cat\nwow"]}))
    assert found["template_recall"] == 1.0 == found["people_boxes_share"]


def test_people_say_as_much_of_each_picture_as_the_model():
    written = sayings({"doge": [f"wow {i}" for i in range(50)], "grumpy": ["no"]})
    said = sayings({"doge": ["a", "b", "c"], "grumpy": ["d", "e"]})
    chosen = as_many(written, said)
    assert [len(row) for row in chosen] == [3, 1] and len(set(chosen[0])) == 3 and set(chosen[0]) <= set(written[0])
    assert as_many(written, said) == chosen != as_many(written, said, seed=1)
