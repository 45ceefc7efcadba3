"""Letters as their script wants them, and as pixels: HarfBuzz shapes a run of a line and draws it.

    >>> run, = fonts.parted("one does not simply")
    >>> width([run], 50)                                     # pixels, of letters of 50 pixels an em
    406.54...
    >>> mask((300, 80), [(run, 10.0, 60.0)], 50).shape       # uint8, what each pixel is covered by
    (80, 300)

Arabic letters join, Devanagari's go before or under one another, Latin ones are kerned, an emoji of several characters
is one picture. Nothing is hinted, so that a line of twice the size is twice as wide. HarfBuzz comes in uharfbuzz's
wheels: letters look alike on every machine.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import uharfbuzz as hb
from PIL import Image

from memefly.memes.fonts import Face, Run

_EMOJI_ABOVE, _EMOJI_BELOW = 0.92, 0.08  # of an em: as high as one, in the middle of the height of capitals
_EMOJI_EM = 128 / 109  # of its font's own: it has them 128 pixels high where an em has 109
_NO_LANGUAGE = "und"  # a machine's own is HarfBuzz's default


@dataclass(frozen=True)
class Shaped:
    """A run as its font draws it, in ems: each glyph's number and where its origin is, from the run's, to the right and
    up; how far it leads; how far its ink goes above and below the line that letters stand on."""

    glyphs: tuple[tuple[int, float, float], ...]
    advance: float
    above: float
    below: float


@functools.lru_cache(maxsize=1 << 14)
def shaped(run: Run) -> Shaped:
    font = _font(run.face)
    em = font.face.upem * (_EMOJI_EM if run.face.is_emoji else 1)
    buffer = hb.Buffer()
    buffer.add_str(run.text)
    buffer.guess_segment_properties()
    buffer.direction, buffer.language = run.direction, _NO_LANGUAGE
    hb.shape(font, buffer)
    glyphs, x, above, below = [], 0, 0.0, 0.0
    for info, position in zip(buffer.glyph_infos, buffer.glyph_positions):
        glyphs.append((info.codepoint, (x + position.x_offset) / em, position.y_offset / em))
        x += position.x_advance
        if extents := font.get_glyph_extents(info.codepoint):
            top = position.y_offset + extents.y_bearing
            above, below = max(above, top), max(below, -(top + extents.height))
    if run.face.is_emoji:
        return Shaped(tuple(glyphs), x / em, _EMOJI_ABOVE, _EMOJI_BELOW)
    return Shaped(tuple(glyphs), x / em, above / em, below / em)


def width(runs: Iterable[Run], size: float) -> float:
    """Of a line in pixels, without an outline, at so many pixels an em."""
    return sum(shaped(run).advance for run in runs) * size


def extent(runs: Sequence[Run], size: float) -> tuple[float, float]:
    """How far the ink of a line goes above and below the line that letters stand on, in pixels."""
    above = max((shaped(run).above for run in runs), default=0.0)
    below = max((shaped(run).below for run in runs), default=0.0)
    return above * size, below * size


Placed = tuple[Run, float, float]  # with its beginning on the line that it stands on: pixels from the left and the top


def mask(area: tuple[int, int], runs: Iterable[Placed], size: float, outline: float = 0.0) -> np.ndarray:
    """Letters, and so many pixels around them, as what each pixel is covered by: uint8 (height, width) for an area of
    (width, height). Emoji are no letters: `emoji` draws them."""
    wide, high = area
    canvas = hb.RasterDraw()
    canvas.extents = hb.RasterExtents(0, -high, wide, high)
    for run, x, y in runs:
        font = _font(run.face, 2 * outline / size)
        scale = size / font.face.upem
        for glyph, right, up in shaped(run).glyphs:
            # Emboldened, a glyph is wider to both sides, and higher above only.
            canvas.transform = (scale, 0, 0, scale, x + right * size, up * size - y - outline)
            canvas.draw_glyph(font, glyph)
    image = canvas.render()
    rows = np.frombuffer(image.buffer, np.uint8).reshape(high, image.extents.stride)
    return rows[::-1, :wide]


def emoji(run: Run, size: int) -> list[tuple[Image.Image, float, float]]:
    """The pictures of a run of emoji, RGBA and as high as an em, with where the upper left corner of each goes: pixels
    from the run's beginning, to the right and down."""
    found = []
    for glyph, right, up in shaped(run).glyphs:
        if (picture := _bitmap(run.face, glyph, size)) is not None:
            found.append((picture, right * size, -(up + _EMOJI_ABOVE) * size))
    return found


@functools.lru_cache(maxsize=256)
def _bitmap(face: Face, glyph: int, size: int) -> Image.Image | None:
    data = _font(face).get_glyph_color_png(glyph).data
    if not data:  # of a blank
        return None
    with Image.open(io.BytesIO(data)) as drawn:
        whole = drawn.convert("RGBA")
    wide = max(1, round(whole.width * size / whole.height))
    return whole.resize((wide, size), Image.Resampling.LANCZOS)


@functools.cache
def _file(face: Face) -> hb.Face:
    return hb.Face(hb.Blob.from_file_path(str(face.path)))


@functools.lru_cache(maxsize=512)
def _font(face: Face, bolder: float = 0.0) -> hb.Font:
    """In its own units. `bolder`: how much wider and higher each glyph is, in ems."""
    font = hb.Font(_file(face))
    if bolder:
        font.synthetic_bold = (bolder, bolder, True)
    return font
