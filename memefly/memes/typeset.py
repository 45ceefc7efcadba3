"""Text set in a box: the largest size at which all of it fits, in lines that are as even as can be.

    >>> block = fit("ONE DOES NOT SIMPLY WALK INTO MORDOR", Space(576, 150), smallest=15, largest=80)
    >>> block.size, [line.text for line in block.lines]
    (64, ['ONE DOES NOT SIMPLY', 'WALK INTO MORDOR'])

Where a line may end follows UAX #14. At a size, filling line after line needs the fewest of them, so what fits is found
by bisection; among the ways to fill so many lines, the one is taken whose rests have the smallest sum of squares, the
last line counted like the others: on a picture a lone last word looks poor (as Knuth and Plass, "Breaking Paragraphs
into Lines", 1981, but for the last line). Words are measured once, in ems, and the lines of what was chosen again as
a whole: letters reach into one another over blanks too. Nothing ever sticks out of the box.

A word that is wider than the box even at the smallest size is broken; where there is too much of a text still, its end
is left out, an ellipsis stands there, and `Block.shortened` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unicode_segmentation_rs import graphemes, line_break_units

from memefly.memes import bidirectional, fonts, shaping
from memefly.memes.fonts import Run

OUTLINE = 1 / 16  # of an em
_GAP = 0.07  # of an em, between the lowest ink of a line, with its outline, and the highest of the next
_ELLIPSIS = "…"
_ROUNDING = 1e-6  # pixels, by which two sums of the same widths may differ


@dataclass(frozen=True)
class Space:
    """Of a box, in pixels."""

    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """`width` in pixels, without outlines."""

    text: str
    runs: tuple[Run, ...]
    width: float


@dataclass(frozen=True)
class Block:
    """A text that was set. All measures are in pixels: `size` of an em, `ascent` and `descent` of the ink of its lines,
    `leading` from one line to the next, `outline` around letters."""

    lines: tuple[Line, ...]
    size: int
    ascent: float
    descent: float
    leading: float
    outline: int
    shortened: bool = False

    @property
    def width(self) -> float:
        return max((line.width for line in self.lines), default=0.0) + 2 * self.outline

    @property
    def height(self) -> float:
        if not self.lines:
            return 0.0
        return self.ascent + self.descent + (len(self.lines) - 1) * self.leading + 2 * self.outline


def outline_of(size: float, share: float = OUTLINE) -> int:
    """Pixels of an outline around letters of this size."""
    return max(1, round(size * share)) if share else 0


def fit(
    text: str,
    space: Space,
    *,
    smallest: int,
    largest: int,
    family: str = fonts.ANTON,
    outline: float = OUTLINE,
    language: str = "",
) -> Block:
    """Sets a text, which `fonts.printable` made fit for it, at a size from `smallest` to `largest` pixels an em.
    Raises ValueError where not even an ellipsis of the smallest size has a place."""
    setter = _Setter(family, language, outline, space)
    if not text.strip():
        return Block((), smallest, 0.0, 0.0, 0.0, 0)
    return setter.largest(text, smallest, largest) or setter.shortened(text, smallest)


@dataclass(frozen=True)
class _Unit:
    """What no line ends inside of: its text with the blanks behind it, both widths in ems, whether a line must end
    behind it."""

    text: str
    whole: float
    bare: float
    ends: bool


class _Setter:
    def __init__(self, family: str, language: str, outline: float, space: Space):
        self._family, self._language, self._outline, self._space = family, language, outline, space
        self._gap = _GAP + 2 * outline  # of an em
        self._right = False

    def largest(self, text: str, smallest: int, largest: int) -> Block | None:
        """None where it does not fit even at the smallest size."""
        units = self._units(text, smallest)
        above, below = self._extent(units)
        fits, fits_not = smallest - 1, max(largest, smallest) + 1
        while fits_not - fits > 1:
            size = (fits + fits_not) // 2
            if self._lines_at(units, size, above, below):
                fits = size
            else:
                fits_not = size
        for size in range(fits, smallest - 1, -1):  # a line may be a little wider than its words are
            if block := self._set(units, size, above, below):
                return block
        return None

    def shortened(self, text: str, size: int) -> Block:
        """The longest beginning that has a place with an ellipsis behind it."""
        words = [cluster for unit in line_break_units(text.replace("\n", " ")) for cluster in self._parts(unit)]
        fits, fits_not, found = -1, len(words), None
        while fits_not - fits > 1:
            count = (fits + fits_not) // 2
            beginning = "".join(words[:count]).rstrip(" ,;:-–—") + _ELLIPSIS
            if block := self.largest(beginning, size, size):
                fits, found = count, block
            else:
                fits_not = count
        if found is None:
            raise ValueError(
                f"no letter of {size} pixels has a place in {self._space.width:g} x {self._space.height:g}"
            )
        return Block(found.lines, found.size, found.ascent, found.descent, found.leading, found.outline, shortened=True)

    def _units(self, text: str, smallest: int) -> list[_Unit]:
        self._right = bidirectional.rightwards(text)
        across = (self._space.width - 2 * outline_of(smallest, self._outline)) / smallest
        found = []
        for paragraph in text.split("\n"):
            units: list[str] = []
            for unit in line_break_units(paragraph):
                wide = self._width(unit.rstrip()) > across  # at any size: it is broken
                units += graphemes(unit, is_extended=True) if wide else [unit]
            for i, unit in enumerate(units):
                bare = unit.rstrip()
                found.append(_Unit(unit, self._width(unit), self._width(bare), ends=i == len(units) - 1))
        return found

    def _parts(self, unit: str) -> list[str]:
        """A word, which goes or stays as a whole, unless it is as long as a line."""
        return [unit] if len(unit) <= 24 else graphemes(unit, is_extended=True)

    def _runs(self, text: str) -> tuple[Run, ...]:
        return fonts.parted(text, self._family, right=self._right, language=self._language)

    def _width(self, text: str) -> float:
        return shaping.width(self._runs(text), 1)

    def _extent(self, units: Sequence[_Unit]) -> tuple[float, float]:
        """Of the ink of all of them, in ems: lines stand as far from one another as the highest and deepest letter
        want, all alike."""
        above, below = zip(*(shaping.extent(self._runs(unit.text), 1) for unit in units))
        return max(above), max(below)

    def _lines_at(self, units: Sequence[_Unit], size: float, above: float, below: float) -> int:
        """How many lines a text takes at a size; 0 where it does not fit."""
        outline = outline_of(size, self._outline)
        across = (self._space.width - 2 * outline) / size
        down = (self._space.height - 2 * outline) / size
        most = int((down + self._gap) / (above + below + self._gap)) if above + below else 1
        lines, filled = 1, 0.0
        for i, unit in enumerate(units):
            if unit.bare > across:
                return 0
            if filled + unit.bare > across:
                lines, filled = lines + 1, 0.0
            filled += unit.whole
            if unit.ends and i < len(units) - 1:
                lines, filled = lines + 1, 0.0
            if lines > most:
                return 0
        return lines

    def _set(self, units: Sequence[_Unit], size: int, above: float, below: float) -> Block | None:
        count = self._lines_at(units, size, above, below)
        if not count:
            return None
        outline = outline_of(size, self._outline)
        across = self._space.width - 2 * outline
        lines = []
        for first, last in _even(units, count, across / size):
            text = "".join(unit.text for unit in units[first:last]).rstrip()
            runs = self._runs(text)
            wide = shaping.width(runs, size)
            if wide > across:
                return None
            lines.append(Line(text, runs, wide))
        ascent, descent = above * size, below * size
        return Block(tuple(lines), size, ascent, descent, ascent + descent + self._gap * size, outline)


def _even(units: Sequence[_Unit], count: int, across: float) -> list[tuple[int, int]]:
    """Where each of `count` lines begins and ends: the smallest sum of squares of what is left of `across`."""
    whole = [0.0]
    for unit in units:
        whole.append(whole[-1] + unit.whole)
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]  # of so many lines, by where they end: cost, beginning
    for _ in range(count):
        here: dict[int, tuple[float, int]] = {}
        for start, (cost, _) in best[-1].items():
            for end in range(start + 1, len(units) + 1):
                rest = across - (whole[end - 1] - whole[start] + units[end - 1].bare)
                if rest < -_ROUNDING:
                    break
                told = cost + rest * rest
                if end not in here or told < here[end][0]:
                    here[end] = (told, start)
                if units[end - 1].ends:
                    break
        best.append(here)
    lines, end = [], len(units)
    for number in range(count, 0, -1):
        start = best[number][end][1]
        lines.append((start, end))
        end = start
    return lines[::-1]
