import numpy as np
import pytest
from PIL import ImageFont

from memefly.memes import fonts, shaping

pytestmark = pytest.mark.once


def glyphs(text: str) -> list[int]:
    return [glyph for run in fonts.parted(text) for glyph, _, _ in shaping.shaped(run).glyphs]


def ink(covered: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is covered by half at least."""
    rows, columns = np.nonzero(covered > 127)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_letters_join_and_stand_as_their_script_has_it():
    # An Arabic letter has four forms, each a glyph of its own: at the beginning, in the middle, at the end, alone. Its
    # dot is another.
    (dot,) = set(glyphs("ببب")) & set(glyphs("ب"))
    assert len({*glyphs("ببب"), *glyphs("ب")} - {dot}) == 4
    # The vowel of "ki" is written before its consonant.
    vowel, consonant = glyphs("कि")
    assert [consonant] == glyphs("क") and vowel != consonant
    (along,) = {run.direction for run in fonts.parted("שלום")}
    assert along == "rtl" and glyphs("שלום") == [glyphs(letter)[0] for letter in "םולש"]


@pytest.mark.parametrize("emoji", ["👩‍🚀", "🇩🇪", "👍🏽", "❤️", "1️⃣", "👨‍👩‍👧"])
def test_an_emoji_of_several_characters_is_one_picture(emoji):
    (run,) = fonts.parted(emoji)
    ((picture, right, down),) = shaping.emoji(run, 40)
    assert picture.size[1] == 40 and (right, down) == (0, pytest.approx(-36.8))
    # Its advance is its picture's width.
    assert shaping.width([run], 40) == pytest.approx(picture.width, abs=0.6)
    colours = np.asarray(picture)
    assert colours[..., 3].max() == 255 and len(np.unique(colours[colours[..., 3] > 200][:, :3], axis=0)) > 5


def test_widths_are_exact_and_in_proportion():
    runs = fonts.parted("ONE DOES NOT SIMPLY")
    # FreeType at a size so large that its hinting counts for little.
    font = ImageFont.truetype(str(runs[0].face.path), 2000, layout_engine=ImageFont.Layout.BASIC)
    plain = sum(font.getlength(letter) for letter in runs[0].text)
    assert shaping.width(runs, 2000) == pytest.approx(plain, rel=0.01)
    assert shaping.width(runs, 60) == pytest.approx(shaping.width(runs, 20) * 3)
    # Kerned: T and o stand closer than they are wide.
    apart = shaping.width(fonts.parted("T"), 1) + shaping.width(fonts.parted("o"), 1)
    assert shaping.width(fonts.parted("To"), 1) < apart - 0.01
    above, below = shaping.extent(fonts.parted("Hg"), 100)
    assert 80 < above < 100 and 10 < below < 30
    assert shaping.extent(fonts.parted("😂"), 50) == (46.0, 4.0) and shaping.extent((), 50) == (0.0, 0.0)


def test_a_mask_is_where_it_was_asked_for():
    (run,) = fonts.parted("H")
    left, top, right, bottom = ink(shaping.mask((100, 90), [(run, 20.0, 70.0)], 50))
    assert bottom == 70 and 70 - top == round(shaping.extent([run], 50)[0])
    assert left >= 20 and right <= 20 + shaping.width([run], 50)
    # What sticks out of the area is cut off, and nothing is there where there is nothing.
    assert shaping.mask((30, 20), [(run, 20.0, 70.0)], 50).shape == (20, 30)
    assert not shaping.mask((30, 20), [], 50).any()


@pytest.mark.parametrize("outline", [1, 3, 6])
def test_an_outline_is_as_wide_to_every_side(outline):
    (run,) = fonts.parted("H")
    left, top, right, bottom = ink(shaping.mask((100, 90), [(run, 20.0, 70.0)], 50))
    around = ink(shaping.mask((100, 90), [(run, 20.0, 70.0)], 50, outline))
    assert np.abs(np.subtract(around, (left - outline, top - outline, right + outline, bottom + outline))).max() <= 1
