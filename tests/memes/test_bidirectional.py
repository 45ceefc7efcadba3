"""UAX #9; the examples are its own, with Hebrew letters for its capitals."""

import pytest
from bidi.mirror import MIRRORED

from memefly.memes.bidirectional import levels, reordered, rightwards

pytestmark = pytest.mark.once


def seen(line: str, right: bool) -> str:
    """With the glyphs that brackets have where they are read from the right (L4)."""
    found = levels(line, right)
    return "".join(reordered([MIRRORED.get(c, c) if at % 2 else c for c, at in zip(line, found)], found))


def hebrew(text: str) -> str:
    """Capitals for letters that are read from the right, as the annex has them."""
    return "".join(chr(0x5D0 + ord(c) - ord("A")) if c.isupper() else c for c in text)


@pytest.mark.parametrize(
    ("line", "right", "expected"),
    [
        ("car means CAR.", False, "car means RAC."),
        ("car MEANS CAR.", True, ".RAC SNAEM car"),
        ("NO 1,000 OR 12 %", True, "% 12 RO 1,000 ON"),
        ("a B (C) d", False, "a (C) B d"),
        ("AB(CD[&ef]!)gh", True, "gh(![ef&]DC)BA"),
        ("smith (fabrikam ARABIC) HEBREW", True, "WERBEH (CIBARA fabrikam) smith"),
        ("ARABIC book(s)", True, "book(s) CIBARA"),
        ("ARABIC, this is (fine)", True, "this is (fine) ,CIBARA"),
        ("see A ) B ( C", False, "see C ) B ( A"),
    ],
)
def test_a_line_as_it_is_seen(line, right, expected):
    assert seen(hebrew(line), right) == hebrew(expected)


def test_levels():
    assert levels("abc", False) == [0, 0, 0] and levels("abc 1", True) == [2, 2, 2, 2, 2]
    assert levels(hebrew("a B 1"), False) == [0, 0, 1, 1, 2]
    # A joiner stands where the one before it does.
    assert levels(hebrew("A\u200dB"), False) == [1, 1, 1] and levels(hebrew("\u200dA"), True) == [1, 1]
    assert levels("", True) == []


def test_direction_of_a_text():
    assert rightwards("«123 שלום»") and rightwards("مرحبا a") and not rightwards("a שלום") and not rightwards("123")


def test_what_is_no_character_has_no_direction():
    assert levels("\u0378", right=True) == [1]
    assert levels("a\u0378ש\u0378", right=False) == [0, 0, 1, 1]
