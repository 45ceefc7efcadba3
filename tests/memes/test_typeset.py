import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memefly.memes import fonts, shaping, typeset
from memefly.memes.typeset import Space, fit

pytestmark = pytest.mark.once

SPACE = Space(576, 150)


def rests(lines, across):
    return sum((across - line) ** 2 for line in lines)


def test_the_largest_size_at_which_all_of_it_fits():
    block = fit("ONE DOES NOT SIMPLY WALK INTO MORDOR", SPACE, smallest=15, largest=120)
    assert [line.text for line in block.lines] == ["ONE DOES NOT SIMPLY", "WALK INTO MORDOR"]
    assert block.width <= SPACE.width and block.height <= SPACE.height and not block.shortened
    # By trying every size: none above it fits.
    sizes = [
        size
        for size in range(15, 121)
        if (one := typeset._Setter(fonts.ANTON, "", typeset.OUTLINE, SPACE).largest(
            "ONE DOES NOT SIMPLY WALK INTO MORDOR", size, size
        ))
        and one.size == size
    ]  # fmt: skip
    assert block.size == max(sizes)
    assert fit("WHY", SPACE, smallest=15, largest=80).size == 80


def test_lines_are_as_even_as_can_be():
    """Against every way to break the text into as many lines."""
    text = "THAT FEELING WHEN YOU OPEN THE FRIDGE AND SOMEBODY ATE THE LAST SLICE OF YOUR PIZZA"
    block = fit(text, SPACE, smallest=15, largest=120)
    words, count = text.split(), len(block.lines)
    assert count >= 3
    across = SPACE.width - 2 * block.outline

    def width(words):
        return shaping.width(fonts.parted(" ".join(words)), block.size)

    ways = []
    for cuts in itertools.combinations(range(1, len(words)), count - 1):
        ends = [0, *cuts, len(words)]
        lines = [width(words[a:b]) for a, b in itertools.pairwise(ends)]
        if max(lines) <= across:
            ways.append(rests(lines, across))
    ours = rests([width(line.text.split()) for line in block.lines], across)
    assert ours == pytest.approx(min(ways), rel=0.02)


def test_what_is_too_long_is_shortened_and_says_so():
    text = " ".join(f"word{i}" for i in range(400))
    block = fit(text, SPACE, smallest=15, largest=80)
    said = " ".join(line.text for line in block.lines)
    assert block.shortened and block.size == 15 and said.endswith("…")
    assert text.startswith(said.removesuffix("…")) and block.height <= SPACE.height
    # Not one word more has a place.
    count = len(said.split())
    longer = " ".join(text.split()[: count + 1]) + "…"
    assert fit(longer, SPACE, smallest=15, largest=15).shortened


def test_a_word_that_is_wider_than_its_box_is_broken():
    block = fit("SO " + "A" * 200, SPACE, smallest=15, largest=80)
    assert not block.shortened and "".join(line.text for line in block.lines).replace(" ", "") == "SO" + "A" * 200
    assert block.width <= SPACE.width


def test_a_line_ends_where_the_text_says():
    block = fit("A\nB C\nD", SPACE, smallest=10, largest=100)
    assert [line.text for line in block.lines] == ["A", "B C", "D"]


def test_no_place_and_no_text():
    assert fit("  ", SPACE, smallest=10, largest=20).lines == ()
    with pytest.raises(ValueError, match="no letter of 15 pixels has a place in 3 x 150"):
        fit("WORDS", Space(3, 150), smallest=15, largest=20)


def test_chinese_needs_no_blanks():
    block = fit("我们今天去吃饭吧好吗我们今天去吃饭吧好吗我们今天去吃饭吧", SPACE, smallest=15, largest=100)
    assert len(block.lines) == 3 and max(len(line.text) for line in block.lines) <= 11


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.sampled_from("abcW i.,😂あ안م ש\n"), min_size=1, max_size=120),
    st.integers(60, 600),
    st.integers(30, 300),
)
def test_it_never_sticks_out(text, width, height):
    shown = fonts.printable(text)
    block = fit(shown, Space(width, height), smallest=10, largest=90)
    assert block.width <= width and block.height <= height
    said = "".join(line.text for line in block.lines)
    kept = "".join(shown.split())
    assert block.shortened or "".join(said.split()) == kept
