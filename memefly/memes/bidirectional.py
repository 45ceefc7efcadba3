"""The Unicode Bidirectional Algorithm (UAX #9) for a line of text: at which level each of its characters stands.

    >>> levels("see שלום (עולם)", right=False)
    [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]

python-bidi resolves them, but for pairs of brackets (N0), which came with Unicode 6.3 and are here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TypeVar

from bidi import algorithm
from bidi.mirror import MIRRORED

T = TypeVar("T")
_RIGHT = ("R", "AL", "AN")
_NOTHING = ("BN", "")  # joiners and the like have no direction (X9), nor has what is no character yet
_STRONG = {"L": "L", "R": "R", "EN": "R", "AN": "R"}  # as N0 takes them, after the weak ones are resolved
_SAME = {"\u2329": "\u3008", "\u232a": "\u3009"}  # canonically equivalent brackets (BD16)
_MOST = 63  # open brackets at a time (BD16)


def rightwards(text: str) -> bool:
    """Whether a text is read from right to left: by its first letter of a direction (P2 and P3)."""
    strong = (kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL"))
    return next(strong, "L") != "L"


def levels(line: str, right: bool) -> list[int]:
    """The embedding level of each character; of what has no direction at all, that of the one before. `right`: the
    paragraph is read from right to left. The line has no marks of direction in it."""
    kinds = [unicodedata.bidirectional(c) for c in line]
    if not right and not any(kind in _RIGHT for kind in kinds):
        return [0] * len(line)
    base = int(right)
    storage = algorithm.get_empty_storage()
    storage["base_level"], storage["base_dir"] = base, "LR"[base]
    told = "".join(c for c, kind in zip(line, kinds) if kind not in _NOTHING)
    algorithm.get_embedding_levels(told, storage, upper_is_rtl=False, debug=False)
    algorithm.explicit_embed_and_overrides(storage, False)
    algorithm.resolve_weak_types(storage, False)
    _resolve_brackets(storage["chars"], "LR"[base])
    algorithm.resolve_neutral_types(storage, False)
    algorithm.resolve_implicit_levels(storage, False)
    resolved = iter([character["level"] for character in storage["chars"]])
    found: list[int] = []
    for kind in kinds:
        found.append(next(resolved) if kind not in _NOTHING else found[-1] if found else base)
    return found


def reordered(items: Sequence[T], levels: Sequence[int]) -> list[T]:
    """As they are seen, from the left (L2): what is at a level or above is turned around, from the highest level down
    to the lowest odd one."""
    order = list(range(len(items)))
    for level in range(max(levels, default=0), 0, -1):
        start = 0
        while start < len(order):
            end = start
            while end < len(order) and levels[order[end]] >= level:
                end += 1
            order[start:end] = order[start:end][::-1]
            start = max(end, start + 1)
    return [items[i] for i in order]


def _resolve_brackets(characters: list[dict], base: str) -> None:
    """N0: both brackets of a pair take the direction of the paragraph where something inside of them has it; else,
    where something inside has the other one, that of what stands before them."""
    for opening, closing in _pairs(characters):
        inside = {_STRONG.get(c["type"]) for c in characters[opening + 1 : closing]} - {None}
        if not inside:
            continue
        before = (_STRONG[c["type"]] for c in reversed(characters[:opening]) if c["type"] in _STRONG)
        direction = base if base in inside else next(before, base)
        for place in (opening, closing):
            characters[place]["type"] = direction
            for mark in characters[place + 1 :]:  # of a bracket, which go with it
                if mark["orig"] != "NSM":
                    break
                mark["type"] = direction


def _pairs(characters: list[dict]) -> list[tuple[int, int]]:
    """BD16, in the order of their opening brackets."""
    found: list[tuple[int, int]] = []
    opened: list[tuple[str, int]] = []
    for i, character in enumerate(characters):
        c = _SAME.get(character["ch"], character["ch"])
        if character["type"] != "ON" or c not in MIRRORED:
            continue
        kind = unicodedata.category(c)
        if kind == "Ps":
            if len(opened) == _MOST:
                break
            opened.append((MIRRORED[c], i))
        elif kind == "Pe":
            for depth in range(len(opened) - 1, -1, -1):
                if opened[depth][0] == c:
                    found.append((opened[depth][1], i))
                    del opened[depth:]
                    break
    return sorted(found)
