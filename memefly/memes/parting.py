"""A caption parted into the text boxes of a template.

    >>> part("one does not simply walk into mordor", 2)
    ['one does not simply', 'walk into mordor']
    >>> part("brace yourselves\nwinter is coming", 2)
    ['brace yourselves', 'winter is coming']

Where a caption has breaks, its parts fill the boxes in order. One without is parted where it costs least: parts should
be about as long as one another, and better ends are those of a sentence, of a clause, and before a word that turns a
thought, as the second line of a meme often does.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import regex
from unicode_segmentation_rs import line_break_units

from memefly import text

# In letters, what a place is worth: so much longer or shorter than its fellows a part may be for it.
_ENDS = {"!": 12.0, "?": 12.0, ".": 10.0, "…": 10.0, "。": 10.0, "！": 12.0, "？": 12.0, ":": 7.0, ";": 8.0, ",": 6.0}
_ENDS |= {"،": 6.0, "؟": 12.0, "，": 6.0, "、": 4.0, "।": 10.0, "-": 5.0, "–": 5.0, "—": 5.0}
_TURNS = frozenset(
    ["but", "because", "so", "and", "then", "when", "if", "until", "unless", "while", "or", "now", "yet", "than"]
)  # fmt: skip
_TURN = 4.0
# A line that ends in one of them reads as if it had been cut.
_HANGS = frozenset(
    ["a", "an", "the", "of", "to", "in", "on", "at", "for", "with", "my", "your", "his", "her", "its", "our",
     "their", "is", "are", "was", "i", "you", "and", "or", "not", "but", "that", "if", "so", "when"]
)  # fmt: skip
_HANG = 12.0


def part(caption: str, boxes: int) -> list[str]:
    """A text for each of `boxes` boxes. Breaks that there are too many of become blanks in the last one; boxes that
    nothing is left for stay empty, the first ones where there is only one word."""
    parts = [one.strip() for one in caption.split("\n")]
    while parts and not parts[-1]:
        parts.pop()
    if len(parts) > boxes:
        return [*parts[: boxes - 1], " ".join(filter(None, parts[boxes - 1 :]))]
    if len(parts) > 1 or boxes == 1:
        return parts + [""] * (boxes - len(parts))
    units = line_break_units(parts[0]) if parts else []
    if len(units) < boxes:
        return [""] * (boxes - len(units)) + [unit.strip() for unit in units]
    ends = [0, *_best(units, boxes), len(units)]
    return ["".join(units[start:end]).strip() for start, end in itertools.pairwise(ends)]


def part_after(begin: str, caption: str, boxes: int) -> list[str]:
    """As `part`, of a caption whose beginning a person wrote: their lines stand as they wrote them, each in a box of
    its own, and what a model went on with is parted among the boxes that are left. A caption that has no box left for
    that is parted as if nobody had written any of it."""
    lines = [line.strip() for line in begin.strip(" ").split("\n")]
    open_line = lines.pop()  # empty where the person ended it
    if len(lines) >= boxes:
        return part(caption, boxes)
    rest = _rest(caption, len(text.tokenize(begin)))
    return lines + part(f"{open_line} {rest}".strip() if open_line else rest, boxes - len(lines))


def _rest(caption: str, words: int) -> str:
    """Of a caption what follows its first words."""
    for word in regex.finditer(r"\S+", caption):
        if words <= 0:
            return caption[word.start() :]
        words -= len(text.tokenize(word[0]))
    return ""


def _best(units: Sequence[str], boxes: int) -> list[int]:
    """Before which units the second and later parts begin, of the least cost."""
    lengths = [0, *itertools.accumulate(map(len, units))]
    fair = lengths[-1] / boxes
    # cost and where parts begin, by how many parts and where the last of them ends
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for number in range(1, boxes + 1):
        here: dict[int, tuple[float, list[int]]] = {}
        least, most = number, len(units) - (boxes - number)
        for end in range(least, most + 1) if number < boxes else [len(units)]:
            for start, (cost, begun) in best.items():
                if start >= end:
                    continue
                told = cost + abs(lengths[end] - lengths[start] - fair) - (_worth(units, start) if start else 0.0)
                if end not in here or told < here[end][0]:
                    here[end] = (told, [*begun, start] if start else begun)
        best = here
    return best[len(units)][1]


def _worth(units: Sequence[str], at: int) -> float:
    """Of parting before a unit."""
    before, after = units[at - 1].strip().lower(), units[at].strip().lower()
    return (
        _ENDS.get(before[-1:], 0.0)
        + (_TURN if after.strip(".,!?\"'") in _TURNS else 0.0)
        - (_HANG if before in _HANGS else 0.0)
    )
