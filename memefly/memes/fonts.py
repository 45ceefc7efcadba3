"""The fonts that memes are written in: which one has a character.

    >>> runs = parted("ICH 😂 あなた", ANTON)
    >>> [(run.text, run.face.name) for run in runs]
    [('ICH ', 'anton/latin'), ('😂', 'noto-color-emoji'), (' ', 'anton/latin'), ('あなた', 'noto-sans-jp/119')]

Letters are drawn from one font at a time (`shaping`); here a line is parted into runs, each of which a file has whole:
Anton, the letter of memes, for Latin; Noto Sans Black for Cyrillic, Greek, Arabic, Hebrew, Devanagari and Thai; Noto's
fonts for Chinese, Japanese and Korean, whose files hold a hundredth of them each; Noto Color Emoji. Runs stand as they
are seen, from the left, as the Unicode Bidirectional Algorithm has it (UAX #9). No character is ever drawn as an empty
box: what no font has is left out.

`requirements/fonts.sh` brings the files. All are under the SIL Open Font License.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import regex
from unicode_segmentation_rs import graphemes

from memefly.memes import bidirectional

FOLDER = Path(__file__).parent / "fonts"
ANTON, SANS = FAMILIES = ("anton", "sans")

_EMOJI = "noto-color-emoji"
_SANS = ("noto-sans", "noto-sans-devanagari", "noto-sans-arabic", "noto-sans-hebrew", "noto-sans-thai")
_EAST = ("noto-sans-sc", "noto-sans-jp", "noto-sans-kr")
# They look like nothing by themselves: joiners, selectors of a presentation.
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")
# What turns the direction of what comes after it: a stranger's text has none to set here.
_CONTROLS = regex.compile(r"[\p{Bidi_Control}\p{Cc}\p{Cs}\p{Co}--[\n]]", regex.VERSION1)
_AS_EMOJI = regex.compile(r"\p{Emoji_Presentation}|\p{Emoji}\ufe0f|\p{Regional_Indicator}{2}|[0-9#*]\ufe0f?\u20e3")
_JAPANESE, _KOREAN = regex.compile(r"[\p{Hiragana}\p{Katakana}]"), regex.compile(r"\p{Hangul}")
_GREEK, _GREEK_ACCENT = regex.compile(r"\p{Greek}"), regex.compile(r"(\p{Greek}\u0308?)[\u0300\u0301\u0342]")


@dataclass(frozen=True)
class Face:
    """One file. `name` is family/part."""

    name: str
    path: Path

    @property
    def is_emoji(self) -> bool:
        return self.name == _EMOJI


@dataclass(frozen=True)
class Run:
    """A part of a line in one font and one direction: "ltr" or "rtl"."""

    text: str
    face: Face
    direction: str


def printable(text: str) -> str:
    """A text without what has no place on a picture: control characters but line breaks, marks of direction, private
    use; blanks are single ones."""
    text = _CONTROLS.sub("", unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\t", " ")))
    return "\n".join(" ".join(line.split(" ")).strip() for line in regex.sub(r"[^\S\n]+", " ", text).split("\n"))


def capitals(text: str) -> str:
    """In capitals, as a script has them: Greek ones carry no accent."""
    upper = text.upper()
    if not _GREEK.search(upper):
        return upper
    return unicodedata.normalize("NFC", _GREEK_ACCENT.sub(r"\1", unicodedata.normalize("NFD", upper)))


def lacking(text: str, family: str = ANTON) -> str:
    """The characters of it that no font has, each once: what is left out when it is drawn."""
    lost: dict[str, None] = {}
    for cluster in graphemes(text.replace("\n", " "), is_extended=True):
        face = _face(cluster, family, _EAST)
        drawn = _drawable(cluster, face) if face else ""
        lost |= dict.fromkeys(c for c in _INVISIBLE.sub("", cluster) if c not in drawn)
    return "".join(lost)


@functools.lru_cache(maxsize=1 << 12)
def parted(line: str, family: str = ANTON, *, right: bool | None = None, language: str = "") -> tuple[Run, ...]:
    """The runs of a line in the order in which they are seen, from the left. `right`: the text that it is of is read
    from right to left (by default as the line itself is). `language` is "zh", "ja" or "ko" where Chinese characters are
    to look as there (by default as the letters beside them tell)."""
    right = bidirectional.rightwards(line) if right is None else right
    east = _order(line, language)
    at_levels = bidirectional.levels(line, right)
    pieces: list[tuple[list[str], Face, int]] = []
    clusters = graphemes(line, is_extended=True)
    letters = [_face(cluster, family, east) if cluster[0].isalpha() else None for cluster in clusters]
    letter = next((face for face in letters if face), None)
    at = 0
    for cluster, own in zip(clusters, letters):
        level, at = at_levels[at], at + len(cluster)
        letter = own or letter
        face = own or _beside(letter, cluster, family, east)
        if face is None:
            continue
        before = pieces[-1] if pieces else None
        drawn = _drawable(cluster, face)
        if before and before[1:] == (face, level):
            before[0].append(drawn)
        else:
            pieces.append(([drawn], face, level))
    runs = [Run("".join(text), face, "rtl" if level % 2 else "ltr") for text, face, level in pieces]
    return tuple(bidirectional.reordered(runs, [level for _, _, level in pieces]))


# --- which file has what ----------------------------------------------------------------------------------------------


@functools.cache
def _files() -> dict[str, list[tuple[Face, list[tuple[int, int]]]]]:
    """Of each folder its files, with the ranges of characters that they have."""
    found: dict[str, list[tuple[Face, list[tuple[int, int]]]]] = {}
    for place, said in json.loads((FOLDER / "coverage.json").read_text(encoding="utf-8")).items():
        folder, _, name = place.partition("/")
        part = regex.sub(rf"^{folder}-|-\d00-normal$", "", Path(name).stem)
        face = Face(folder if folder == _EMOJI else f"{folder}/{part}", FOLDER / place)
        pairs = [one.split("-") for one in said.split()]
        found.setdefault(folder, []).append((face, [(int(pair[0], 16), int(pair[-1], 16)) for pair in pairs]))
    return found


@functools.cache
def _by_character(folder: str) -> dict[int, Face]:
    table: dict[int, Face] = {}
    for face, ranges in _files()[folder]:
        for first, last in ranges:
            for code in range(first, last + 1):
                table.setdefault(code, face)
    return table


@functools.cache
def _characters(face: Face) -> frozenset[int]:
    ranges = next(r for f, r in _files()[face.name.partition("/")[0]] if f == face)
    return frozenset(code for first, last in ranges for code in range(first, last + 1))


def _has(face: Face, cluster: str) -> bool:
    return all(ord(c) in _characters(face) for c in cluster)


def _drawable(cluster: str, face: Face) -> str:
    """What a font has of it; of what is seen as nothing, it needs nothing."""
    if _has(face, cluster):
        return cluster
    return "".join(c for c in cluster if ord(c) in _characters(face) or _INVISIBLE.match(c))


def _beside(letter: Face | None, cluster: str, family: str, east: tuple[str, ...]) -> Face | None:
    """For what is no letter, such as a digit, a blank or a full stop: the font of the letters before it, if it is
    there, or one that looks alike."""
    if _AS_EMOJI.match(cluster) or letter is None:
        return _face(cluster, family, east)
    if _has(letter, cluster):
        return letter
    return _face(cluster, family if letter.name.startswith(ANTON) else SANS, east)


@functools.lru_cache(maxsize=1 << 14)
def _face(cluster: str, family: str, east: tuple[str, ...]) -> Face | None:
    """The first that has all that can be seen of a cluster, or else what the cluster begins with."""
    seen = _INVISIBLE.sub("", cluster) or cluster
    if _AS_EMOJI.match(cluster) and all(ord(c) in _by_character(_EMOJI) for c in seen):
        return _by_character(_EMOJI)[ord(seen[0])]
    chain = ((ANTON,) if family == ANTON else ()) + _SANS + east
    for wanted in (seen, seen[0]):
        for folder in chain:
            face = _by_character(folder).get(ord(wanted[0]))
            if face and _has(face, wanted):
                return face
    if ord(seen[0]) in _by_character(_EMOJI):
        return _by_character(_EMOJI)[ord(seen[0])]
    return None


def _order(line: str, language: str) -> tuple[str, ...]:
    """Of the fonts of Chinese characters, whose shapes differ from country to country."""
    if language == "ja" or (not language and _JAPANESE.search(line)):
        return _EAST[1], _EAST[0], _EAST[2]
    if language == "ko" or (not language and _KOREAN.search(line)):
        return _EAST[2], _EAST[0], _EAST[1]
    return _EAST
