import json
import unicodedata

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st

from memefly.memes import fonts, shaping

pytestmark = pytest.mark.once


def seen(text: str, **how) -> list[tuple[str, str]]:
    return [(run.text, run.face.name.partition("/")[0]) for run in fonts.parted(text, **how)]


def test_coverage_is_what_the_files_have():
    told = json.loads((fonts.FOLDER / "coverage.json").read_text())
    files = {path.relative_to(fonts.FOLDER).as_posix() for path in fonts.FOLDER.rglob("*.ttf")}
    assert set(told) == files
    for name in ["anton/anton-latin-400-normal.ttf", "noto-color-emoji/NotoColorEmoji.ttf", sorted(files)[-1]]:
        face = next(f for f, _ in fonts._files()[name.partition("/")[0]] if f.path == fonts.FOLDER / name)
        assert fonts._characters(face) == set(TTFont(fonts.FOLDER / name, lazy=True)["cmap"].getBestCmap())


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("Zażółć gęślą jaźń — “Ọ”", {"anton"}),
        ("Ελλάδα, ПРИВЕТ", {"noto-sans"}),
        ("नमस्ते दुनिया", {"noto-sans-devanagari"}),
        ("สวัสดี", {"noto-sans-thai"}),
        ("شكرا جزيلا", {"noto-sans-arabic"}),
        ("שלום", {"noto-sans-hebrew"}),
        ("龍門飯店 我们", {"noto-sans-sc"}),
        ("東京タワー", {"noto-sans-jp"}),
        ("한국어", {"noto-sans-kr"}),
        ("😂👩‍🚀🇩🇪👍🏽❤️1️⃣", {"noto-color-emoji"}),
    ],
)
def test_every_script_has_its_font(text, family):
    assert fonts.lacking(text) == ""
    runs = seen(text)
    assert {name for said, name in runs if said.strip(" —“”,")} == family
    assert sorted("".join(said for said, _ in runs)) == sorted(text)


def test_character_by_character():
    assert seen("ICH 😂 あ") == [("ICH ", "anton"), ("😂", "noto-color-emoji"), (" ", "anton"), ("あ", "noto-sans-jp")]
    # What is no letter stands in the font of the letters before it, or in one that looks alike.
    assert {name for _, name in seen("МИР, 2020!")} == {"noto-sans"}
    assert seen("ok 2020 ✓")[0] == ("ok 2020 ", "anton")
    assert seen("© 100 %") == [("© 100 %", "anton")]
    assert seen("a", family=fonts.SANS) == [("a", "noto-sans")]


def test_chinese_characters_as_the_language_has_them():
    assert seen("直", language="ja")[0][1] == "noto-sans-jp"
    assert seen("直", language="ko")[0][1] == "noto-sans-kr"
    assert seen("直の")[0][1] == "noto-sans-jp" and seen("直")[0][1] == "noto-sans-sc"


def test_no_empty_box_is_ever_drawn():
    assert seen("aᚠb") == [("ab", "anton")] and fonts.lacking("aᚠb\nᚠ\ufe0f") == "ᚠ"
    # A mark that no font has goes; the letter stays.
    assert seen("a\U0001e8d0 b") == [("a b", "anton")] and fonts.lacking("a\U0001e8d0") == "\U0001e8d0"


def test_from_right_to_left():
    runs = fonts.parted("مرحبا abc 12 😂 بكم")
    words = [(run.text.strip(), run.direction) for run in runs if run.text.strip()]
    assert words == [("بكم", "rtl"), ("😂", "rtl"), ("abc 12", "ltr"), ("مرحبا", "rtl")]
    # An English text with a Hebrew word in it stays one from the left.
    assert [run.text.strip() for run in fonts.parted("see שלום עולם now") if run.text.strip()] == [
        "see",
        "שלום עולם",
        "now",
    ]
    # As part of a text from the right, a line of Latin alone ends at the left.
    assert [run.text for run in fonts.parted("ok!", right=True)] == ["!", "ok"]
    # Joiners have no direction of their own (UAX #9, X9) and go with what they join.
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert [run.text.strip() for run in fonts.parted(f"שלום {family}") if run.text.strip()] == [family, "שלום"]


def test_printable():
    assert fonts.printable("  a\u202eb\x07  c\t d\r\n e\u200f ") == "ab c d\ne"
    assert fonts.printable("e\u0301") == "é"
    assert fonts.printable("\U0001f469\u200d\U0001f680 \ufe0f") == "\U0001f469\u200d\U0001f680 \ufe0f"


def test_capitals():
    assert fonts.capitals("straße, it's") == "STRASSE, IT'S"
    assert fonts.capitals("Ελλάδα του Ραΐτη") == "ΕΛΛΑΔΑ ΤΟΥ ΡΑΪΤΗ"
    assert fonts.capitals("привет") == "ПРИВЕТ" and fonts.capitals("हिन्दी") == "हिन्दी"
    assert unicodedata.is_normalized("NFC", fonts.capitals("ά é"))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_whatever_a_text_has_a_font_draws_all_of_it_or_it_is_left_out(text):
    shown = fonts.printable(text).replace("\n", " ")
    runs = fonts.parted(shown)
    drawn = "".join(run.text for run in runs)
    for run in runs:
        characters = fonts._characters(run.face)
        assert all(ord(c) in characters or fonts._INVISIBLE.match(c) for c in run.text)
        assert shaping.width([run], 1) >= 0
    lost = fonts.lacking(shown)
    assert sorted(c for c in drawn if not fonts._INVISIBLE.match(c)) == sorted(
        c for c in shown if c not in lost and not fonts._INVISIBLE.match(c)
    )
