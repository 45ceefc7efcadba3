import random

import pytest

from memefly.metrics.spliced import SpanIndex, spliced_share

TRAINING = ["one does not simply walk into mordor", "i do not always walk but when i do i run", "one cat"]


@pytest.fixture(scope="module")
def index() -> SpanIndex:
    return SpanIndex([caption.split() for caption in TRAINING])


@pytest.mark.parametrize(
    "caption, span",
    [
        ("one does not simply run", 4),
        ("not always walk", 3),
        ("one cat", 2),
        ("mordor i do", 1),  # in two captions that stand behind one another
        ("cat", 1),
        ("dog one does", 0),
        ("walk dog", 1),
        ("run", 1),
        ("", 0),
    ],
)
def test_spans_are_within_one_caption(index, caption, span):
    assert index.span(caption.split()) == span


@pytest.mark.parametrize(
    "caption, spliced",
    [
        ("one does not simply walk but when i do", True),
        ("one does not always walk into mordor", False),  # of three
        ("one does not simply walk into mordor", True),  # copied
        ("one does not simply walk into dog", False),
        ("one does not always", True),
        ("", True),
    ],
)
def test_two_spans_are_spliced(index, caption, spliced):
    assert index.spliced(caption.split()) is spliced


def test_is_what_a_search_through_all_captions_finds():
    drawer = random.Random(0)
    training = [drawer.choices("abcd", k=drawer.randint(1, 9)) for _ in range(40)]
    index = SpanIndex(training)

    def stands(part: list[str]) -> bool:
        return any(caption[i : i + len(part)] == part for caption in training for i in range(len(caption)))

    for _ in range(300):
        caption = drawer.choices("abcde", k=drawer.randint(1, 12))
        assert index.span(caption) == max(n for n in range(len(caption) + 1) if not n or stands(caption[:n]))
        halves = ((caption[:i], caption[i:]) for i in range(len(caption)))
        assert index.spliced(caption) == any((not a or stands(a)) and stands(b) for a, b in halves)


def test_short_captions_are_not_looked_at(index):
    said = [caption.split() for caption in ("one does", "one does not simply walk but when i do", "a b c d e f g h")]
    assert spliced_share(index, said) == 0.5
    assert spliced_share(index, said[:1]) == 0.0 == spliced_share(index, [])
