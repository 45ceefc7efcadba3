import pytest

from memefly.memes.parting import part, part_after

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("caption", "parts"),
    [
        ("one does not simply walk into mordor", ["one does not simply", "walk into mordor"]),
        ("i had fun once. it was awful", ["i had fun once.", "it was awful"]),
        (
            "i don't always test my code but when i do, i do it in production",
            ["i don't always test my code", "but when i do, i do it in production"],
        ),
        ("not sure if serious or just joking", ["not sure if serious", "or just joking"]),
        ("我们今天去吃饭吧，好吗？不去", ["我们今天去吃饭吧，", "好吗？不去"]),
        ("why", ["", "why"]),
        ("y u", ["y", "u"]),
        ("", ["", ""]),
        ("brace yourselves\nwinter is coming", ["brace yourselves", "winter is coming"]),
        ("\nonly below", ["", "only below"]),
        ("a\nb\nc", ["a", "b c"]),
    ],
)
def test_two_boxes(caption, parts):
    assert part(caption, 2) == parts


def test_as_many_boxes_as_there_are():
    assert part("a b", 1) == ["a b"] and part("a\nb", 1) == ["a b"]
    assert part("a\nb", 4) == ["a", "b", "", ""]
    assert part("first we take manhattan, then we take berlin, then the rest", 3) == [
        "first we take manhattan,", "then we take berlin,", "then the rest",
    ]  # fmt: skip


def test_nothing_is_lost():
    caption = "a quick brown fox jumps over the lazy dog and then it sleeps for a day or two"
    for boxes in range(1, 9):
        parts = part(caption, boxes)
        assert len(parts) == boxes and " ".join(parts) == caption


@pytest.mark.parametrize(
    ("begin", "caption", "parts"),
    [
        # A model without breaks, and one that has them and reads no capitals.
        (
            "When my CODE compiles:\n",
            "when my code compiles coffee in space",
            ["When my CODE compiles:", "coffee in space"],
        ),
        (
            "When my CODE compiles:\n",
            "when my code compiles\ncoffee, in space",
            ["When my CODE compiles:", "coffee, in space"],
        ),
        ("One does not", "one does not simply walk into mordor", ["One does not simply", "walk into mordor"]),
        ("so\nbe", "so\nbe it", ["so", "be it"]),
        ("a\nb\n", "a b c", ["a b", "c"]),
        ("all of it\n", "all of it", ["all of it", ""]),
        ("", "one does not simply walk into mordor", ["one does not simply", "walk into mordor"]),
    ],
)
def test_lines_of_a_person_stand_as_they_wrote_them(begin, caption, parts):
    assert part_after(begin, caption, 2) == parts
