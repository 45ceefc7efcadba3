"""Draws the sample memes: cartoon templates and captions in meme voice, all our own.

    >>> generate(Path("data/sample"), images=1200, seed=0)

Every picture is a scene drawn at random from a seed: a character in one of its colours, in a mood, with a prop, at
a place on the picture, before a background. Its five captions come from a small grammar that names what is drawn,
so a captioner which looks at the picture does visibly better than one which does not. The scene is written beside the
captions (key `scene`), for whoever wants to measure what a caption got right; the pipeline does not read it.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from memefly.datasets.writer import DatasetWriter

SIZE = 256  # pixels, of the finished square picture
_OVERSAMPLING = 2  # drawn larger and reduced, for smooth edges
_INK = (30, 30, 40)
_WHITE = (250, 250, 250)

COLOURS = {
    "red": (214, 48, 49), "orange": (240, 140, 30), "yellow": (250, 210, 50), "green": (60, 170, 75),
    "teal": (20, 160, 160), "blue": (50, 100, 220), "purple": (130, 70, 190), "pink": (245, 130, 175),
    "brown": (130, 85, 50), "grey": (140, 145, 150),
}  # fmt: skip
CHARACTERS = {  # each with the colours that it comes in
    "cat": ("orange", "grey"), "dog": ("brown", "orange"), "frog": ("green", "teal"), "penguin": ("blue", "grey"),
    "robot": ("grey", "yellow"), "octopus": ("purple", "pink"), "ghost": ("teal", "yellow"),
    "dragon": ("red", "purple"),
}  # fmt: skip
MOODS = ("happy", "grumpy", "sleepy", "shocked")
PROPS = ("coffee", "pizza", "balloon", "laptop", "umbrella")
PLACES = {"left": 0.3, "middle": 0.5, "right": 0.7}  # centre of the character, in picture widths
BACKGROUNDS = ("beach", "office", "space", "forest", "city", "kitchen")

WHERE = {
    "beach": "at the beach", "office": "at the office", "space": "in space", "forest": "in the forest",
    "city": "in the city", "kitchen": "in the kitchen",
}  # fmt: skip

# Meme voice. Every line names the character and most say where it is. No line has four fixed words in a row, so that
# saying any one line to every picture earns little.
GRAMMAR = (
    "brace yourselves {mood} {character} {where}",
    "not sure if {mood} {character} or {background} vibes",
    "y u no share {prop} {colour} {character} {where}",
    "{mood} {character} on the {place} wants {prop}",
    "when {colour} {character} brings {prop} {where}",
    "much {mood} very {character} such {background}",
    "keep calm {colour} {character} has {prop} {where}",
    "that {mood} {character} {where} again",
    "nobody: {colour} {character} with {prop} {where}",
    "{character} on the {place} owns {prop} and the {background}",
)


@dataclass(frozen=True)
class Scene:
    character: str
    colour: str
    mood: str
    prop: str
    place: str
    background: str


def generate(out: Path, images: int = 1200, seed: int = 0) -> DatasetWriter:
    """Writes the canonical data set `out` with so many pictures. Same arguments, same bytes."""
    with DatasetWriter(out) as writer:
        for i in range(images):
            rng = random.Random(f"memefly sample {seed} {i}")
            scene = draw_scene(rng)
            data = render(scene, rng)
            writer.add(f"meme-{i:05d}.png", data, captions(scene, rng), group=scene.character, scene=asdict(scene))
    return writer


def draw_scene(rng: random.Random) -> Scene:
    character = rng.choice(tuple(CHARACTERS))
    return Scene(
        character=character,
        colour=rng.choice(CHARACTERS[character]),
        mood=rng.choice(MOODS),
        prop=rng.choice(PROPS),
        place=rng.choice(tuple(PLACES)),
        background=rng.choice(BACKGROUNDS),
    )


def captions(scene: Scene, rng: random.Random, count: int = 5) -> list[str]:
    words = asdict(scene)
    words["where"] = WHERE[scene.background]
    return [line.format(**words) for line in rng.sample(GRAMMAR, count)]


def render(scene: Scene, rng: random.Random) -> bytes:
    """The PNG of a scene; `rng` moves, scales and shades it a little."""
    side = SIZE * _OVERSAMPLING
    image = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(image)
    _BACKDROPS[scene.background](draw, side, rng)
    radius = side * rng.uniform(0.21, 0.24)
    x = side * (PLACES[scene.place] + rng.uniform(-0.03, 0.03))
    y = side * rng.uniform(0.58, 0.62)
    pen = _Pen(draw, x, y, radius)
    body = tuple(max(0, min(255, c + rng.randint(-12, 12))) for c in COLOURS[scene.colour])
    _BODIES[scene.character](pen, body)
    _face(pen, scene.mood)
    towards_middle = -1 if scene.place == "right" else 1
    _PROPS[scene.prop](_Pen(draw, x + towards_middle * radius * 1.25, y + radius * 0.55, radius * 0.62))
    image = image.reduce(_OVERSAMPLING)
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


class _Pen:
    """Draws in units of a radius around a centre; y grows downwards."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, y: float, radius: float):
        self._draw, self._x, self._y, self._r = draw, x, y, radius
        self._line = max(2, round(radius * 0.05))

    def _at(self, points):
        return [(self._x + px * self._r, self._y + py * self._r) for px, py in points]

    def oval(self, x, y, rx, ry, fill, outline=_INK):
        self._draw.ellipse(self._at([(x - rx, y - ry), (x + rx, y + ry)]), fill, outline, self._line)

    def box(self, x0, y0, x1, y1, fill, outline=_INK, round_by=0.0):
        self._draw.rounded_rectangle(
            self._at([(x0, y0), (x1, y1)]), round_by * self._r, fill=fill, outline=outline, width=self._line
        )

    def shape(self, points, fill, outline=_INK):
        self._draw.polygon(self._at(points), fill=fill, outline=outline, width=self._line)

    def line(self, points, fill=_INK, width=0.06):
        self._draw.line(self._at(points), fill=fill, width=max(2, round(width * self._r)), joint="curve")

    def arc(self, x, y, rx, ry, start, end, width=0.08):
        box = self._at([(x - rx, y - ry), (x + rx, y + ry)])
        self._draw.arc(box, start, end, fill=_INK, width=max(2, round(width * self._r)))


def _darker(colour, by=0.72):
    return tuple(int(c * by) for c in colour)


# --- characters: a body in a colour; the face comes after ---------------------------------------------------------


def _cat(pen: _Pen, c):
    pen.line([(0.7, 1.1), (1.15, 0.8), (1.05, 0.3)], _darker(c), 0.18)
    pen.oval(0, 0.85, 0.75, 0.65, c)
    for side in (-1, 1):
        pen.shape([(side * 0.95, -1.35), (side * 0.98, -0.2), (side * 0.2, -0.75)], c)
        pen.shape([(side * 0.85, -1.1), (side * 0.85, -0.5), (side * 0.45, -0.75)], (250, 190, 190))
    pen.oval(0, 0, 1.0, 0.88, c)
    for side in (-1, 1):
        for dy in (0.15, 0.3):
            pen.line([(side * 0.55, dy), (side * 1.25, dy + 0.1 * (dy - 0.2))], _INK, 0.03)


def _dog(pen: _Pen, c):
    pen.oval(0, 0.9, 0.8, 0.6, c)
    pen.oval(0, 0, 0.9, 0.95, c)
    for side in (-1, 1):
        pen.oval(side * 1.0, 0.1, 0.3, 0.8, _darker(c))
    pen.oval(0, 0.45, 0.5, 0.4, _WHITE)
    pen.oval(0, 0.22, 0.16, 0.12, _INK)
    pen.box(-0.6, 0.88, 0.6, 1.05, COLOURS["red"])


def _frog(pen: _Pen, c):
    for side in (-1, 1):
        pen.oval(side * 0.95, 1.05, 0.55, 0.28, c)
        pen.oval(side * 0.5, -0.75, 0.42, 0.42, c)
    pen.oval(0, 0.35, 1.2, 0.85, c)
    pen.oval(0, 0.75, 0.7, 0.4, (225, 245, 190), None)


def _penguin(pen: _Pen, c):
    for side in (-1, 1):
        pen.shape([(side * 0.7, -0.1), (side * 1.3, 0.75), (side * 0.8, 0.8)], _darker(c))
        pen.oval(side * 0.35, 1.4, 0.35, 0.14, COLOURS["orange"])
    pen.oval(0, 0.3, 0.85, 1.2, c)
    pen.oval(0, 0.45, 0.6, 0.95, _WHITE)
    pen.shape([(-0.2, 0.2), (0.2, 0.2), (0, 0.5)], COLOURS["orange"])


def _robot(pen: _Pen, c):
    pen.line([(0, -0.8), (0, -1.3)], _INK, 0.08)
    pen.oval(0, -1.4, 0.16, 0.16, COLOURS["yellow"])
    for side in (-1, 1):
        pen.box(side * 0.95 - 0.13, 0.75, side * 0.95 + 0.13, 1.3, _darker(c))
    pen.box(-0.8, 0.65, 0.8, 1.45, _darker(c))
    for dx in (-0.4, 0, 0.4):
        pen.oval(dx, 1.05, 0.12, 0.12, COLOURS["yellow"])
    pen.box(-1.0, -0.85, 1.0, 0.65, c)


def _octopus(pen: _Pen, c):
    for i in range(6):
        x = -1.0 + 0.4 * i
        pen.line([(x * 0.6, 0.6), (x * 1.1, 1.0), (x * 1.3, 1.35), (x * 1.55, 1.25)], c, 0.26)
    pen.oval(0, -0.15, 1.0, 1.1, c)
    for dx, dy in ((-0.5, -0.85), (0.45, -0.8), (0.0, -1.0)):
        pen.oval(dx, dy, 0.12, 0.09, _darker(c), None)


def _ghost(pen: _Pen, c):
    light = tuple((2 * v + 255) // 3 for v in c)
    hem = [(1.0 - 0.25 * i, 1.35 if i % 2 else 1.05) for i in range(9)]
    dome = [(math.cos(a) * 1.0, -0.2 + math.sin(a) * 1.0) for a in (math.pi + math.pi * i / 16 for i in range(17))]
    pen.shape([*dome, *hem], light)


def _dragon(pen: _Pen, c):
    for side in (-1, 1):
        pen.shape([(side * 0.5, 0.3), (side * 1.7, -0.9), (side * 1.5, 0.1), (side * 1.65, 0.6)], _darker(c))
        pen.shape([(side * 0.3, -0.75), (side * 0.6, -1.5), (side * 0.7, -0.6)], COLOURS["yellow"])
    pen.oval(0, 0.85, 0.7, 0.7, c)
    pen.oval(0, 1.0, 0.4, 0.5, COLOURS["yellow"], None)
    pen.oval(0, -0.05, 0.85, 0.85, c)
    for side in (-1, 1):
        pen.oval(side * 0.15, 0.3, 0.06, 0.06, _INK)


# --- moods --------------------------------------------------------------------------------------------------------


def _face(pen: _Pen, mood: str):
    for side in (-1, 1):
        x = side * 0.38
        if mood == "sleepy":
            pen.arc(x, -0.2, 0.22, 0.16, 0, 180)
        elif mood == "shocked":
            pen.oval(x, -0.22, 0.3, 0.34, _WHITE)
            pen.oval(x, -0.22, 0.08, 0.08, _INK)
        else:
            pen.oval(x, -0.2, 0.24, 0.24, _WHITE)
            pen.oval(x, -0.18, 0.12, 0.14, _INK)
        if mood == "grumpy":
            pen.line([(side * 0.12, -0.38), (side * 0.72, -0.66)], _INK, 0.14)
    if mood == "happy":
        pen.arc(0, 0.3, 0.45, 0.35, 10, 170, 0.11)
    elif mood == "grumpy":
        pen.arc(0, 0.72, 0.4, 0.3, 200, 340, 0.11)
    elif mood == "sleepy":
        pen.line([(-0.18, 0.55), (0.18, 0.55)], _INK, 0.08)
        for i, (dx, dy) in enumerate(((0.9, -1.1), (1.2, -1.5))):  # z z
            s = 0.14 + 0.06 * i
            pen.line([(dx, dy), (dx + s, dy), (dx, dy + s), (dx + s, dy + s)], _INK, 0.07)
    else:
        pen.oval(0, 0.6, 0.2, 0.26, _INK)


# --- props --------------------------------------------------------------------------------------------------------


def _coffee(pen: _Pen):
    pen.arc(0.6, 0.4, 0.35, 0.35, -90, 90, 0.16)
    pen.box(-0.6, -0.1, 0.6, 1.0, _WHITE)
    pen.box(-0.6, 0.25, 0.6, 0.6, COLOURS["brown"])
    for dx in (-0.25, 0.15):
        pen.line([(dx, -0.3), (dx + 0.12, -0.5), (dx, -0.7), (dx + 0.12, -0.9)], (235, 235, 235), 0.09)


def _pizza(pen: _Pen):
    pen.shape([(-0.9, -0.5), (0.9, -0.5), (0, 1.2)], COLOURS["yellow"])
    pen.box(-1.0, -0.75, 1.0, -0.4, COLOURS["brown"], round_by=0.15)
    for dx, dy in ((-0.35, -0.1), (0.35, -0.05), (0.0, 0.4)):
        pen.oval(dx, dy, 0.2, 0.2, COLOURS["red"])


def _balloon(pen: _Pen):
    pen.line([(0, 1.0), (0.12, 0.4), (0, -0.4)], _INK, 0.06)
    pen.oval(0, -1.5, 0.85, 1.1, (235, 40, 120))
    pen.oval(-0.3, -1.9, 0.16, 0.25, _WHITE, None)


def _laptop(pen: _Pen):
    pen.box(-0.9, -0.5, 0.9, 0.65, (60, 65, 75))
    pen.box(-0.75, -0.36, 0.75, 0.5, (120, 220, 250))
    pen.shape([(-0.9, 0.65), (0.9, 0.65), (1.2, 1.0), (-1.2, 1.0)], (190, 195, 200))


def _umbrella(pen: _Pen):
    pen.line([(0, -1.4), (0, 0.9), (0.2, 1.1), (0.4, 0.9)], _INK, 0.1)
    dome = [(math.cos(a) * 1.25, -0.7 + math.sin(a) * 1.1) for a in (math.pi + math.pi * i / 16 for i in range(17))]
    pen.shape(dome, (90, 60, 200))
    pen.shape([(-0.42, -0.7), (0, -1.8), (0.42, -0.7)], COLOURS["yellow"])


# --- backgrounds --------------------------------------------------------------------------------------------------


def _beach(draw, side, rng):
    draw.rectangle([0, 0, side, side], (135, 205, 245))
    x = rng.uniform(0.1, 0.9) * side
    draw.ellipse([x - 0.09 * side, 0.06 * side, x + 0.09 * side, 0.24 * side], (255, 225, 80))
    draw.rectangle([0, 0.45 * side, side, 0.68 * side], (40, 130, 200))
    draw.rectangle([0, 0.68 * side, side, side], (240, 215, 150))


def _office(draw, side, rng):
    draw.rectangle([0, 0, side, side], (222, 222, 210))
    shift = rng.uniform(-0.05, 0.05)
    for i in range(3):
        x = (0.08 + 0.31 * i + shift) * side
        draw.rectangle([x, 0.08 * side, x + 0.23 * side, 0.36 * side], (180, 215, 235), (120, 120, 120), 4)
        draw.line([x, 0.22 * side, x + 0.23 * side, 0.22 * side], (120, 120, 120), 3)
    draw.rectangle([0, 0.8 * side, side, side], (115, 120, 135))


def _space(draw, side, rng):
    draw.rectangle([0, 0, side, side], (18, 16, 48))
    for _ in range(70):
        x, y, r = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(1, 4)
        draw.ellipse([x - r, y - r, x + r, y + r], (240, 240, 255))
    x = rng.uniform(0.15, 0.85) * side
    draw.ellipse([x - 0.1 * side, 0.08 * side, x + 0.1 * side, 0.28 * side], (205, 150, 100))
    draw.ellipse([x - 0.17 * side, 0.155 * side, x + 0.17 * side, 0.205 * side], None, (235, 200, 160), 5)


def _forest(draw, side, rng):
    draw.rectangle([0, 0, side, side], (190, 225, 200))
    for i in range(6):
        x, h = (i + rng.uniform(0.2, 0.8)) / 6 * side, rng.uniform(0.05, 0.16) * side
        draw.rectangle([x - 0.02 * side, 0.5 * side, x + 0.02 * side, 0.78 * side], (100, 70, 45))
        draw.polygon([(x, h), (x - 0.12 * side, 0.58 * side), (x + 0.12 * side, 0.58 * side)], (25, 95, 55))
    draw.rectangle([0, 0.76 * side, side, side], (95, 140, 60))


def _city(draw, side, rng):
    draw.rectangle([0, 0, side, side], (250, 170, 120))
    for i in range(6):
        x0, top = i / 6 * side, rng.uniform(0.12, 0.42) * side
        draw.rectangle([x0, top, x0 + side / 6 - 4, 0.82 * side], (85, 75, 110))
        for row in range(int((0.78 * side - top) // (0.08 * side))):
            for column in (0.25, 0.62):
                wx, wy = x0 + column * side / 6, top + (0.03 + 0.08 * row) * side
                draw.rectangle([wx, wy, wx + 0.025 * side, wy + 0.035 * side], (255, 235, 140))
    draw.rectangle([0, 0.82 * side, side, side], (70, 70, 75))


def _kitchen(draw, side, rng):
    draw.rectangle([0, 0, side, side], (245, 200, 205))
    step = side / 8
    for i in range(8):
        for j in range(4):
            if (i + j) % 2:
                draw.rectangle([i * step, j * step, (i + 1) * step, (j + 1) * step], (250, 250, 250))
    for i in range(3):
        x = (0.12 + 0.3 * i + rng.uniform(-0.03, 0.03)) * side
        draw.rectangle([x, 0.06 * side, x + 0.14 * side, 0.22 * side], (90, 170, 175), (60, 60, 60), 4)
    draw.rectangle([0, 0.78 * side, side, side], (150, 95, 60))


_BODIES: dict[str, Callable] = {
    "cat": _cat, "dog": _dog, "frog": _frog, "penguin": _penguin, "robot": _robot, "octopus": _octopus,
    "ghost": _ghost, "dragon": _dragon,
}  # fmt: skip
_PROPS: dict[str, Callable] = {
    "coffee": _coffee, "pizza": _pizza, "balloon": _balloon, "laptop": _laptop, "umbrella": _umbrella,
}  # fmt: skip
_BACKDROPS: dict[str, Callable] = {
    "beach": _beach, "office": _office, "space": _space, "forest": _forest, "city": _city, "kitchen": _kitchen,
}  # fmt: skip
