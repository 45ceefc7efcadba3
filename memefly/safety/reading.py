"""Reads through tricks of writing: what a text says to a person, as plain small letters.

    >>> [sorted(place) for place in readings("Ｈ3ll0, f.r.i.e.n.d!")]
    [['hello'], ['friend']]

A place is a word, or several that it may be read as: letters of other scripts that look like Latin ones (Unicode's
confusables, UTS 39), digits and signs in the place of letters, letters that are repeated, and words that are spelled
out or parted by signs. A word with stars in it is read as a pattern: `f*ck` holds `.` where nobody can tell.
"""

from __future__ import annotations

import functools
import unicodedata

import regex

_SIGNS = str.maketrans("034578@9$+€£!|¡(", "oeastbagsteliiic")
_SINGLE_SIGNS = "0345@$1"  # that may stand for a letter all alone
_ONE = ("i", "l")  # what 1 stands for
_IN_WORDS = regex.compile(r"[a-z0-9@$+€£!|¡(*#'’._%&\-]+")
_ENDS = "!?.,;:'’\"-_()*#|"
_LETTERS = regex.compile(r"[a-z]+(?:['’][a-z]+)*")
_SPELLED = regex.compile(r"[a-z0-9@$!](?:[._\-*|'/ ]+[a-z0-9@$!])+")
_MASK = regex.compile(r"(?<=[a-z])[*#%&_.\-]+(?=[a-z])|(?<=[a-z])[*#]+$")
_REPEATED = regex.compile(r"(.)\1{2,}")


def fold(text: str) -> str:
    """Small letters without accents, and Latin ones for those that look like them."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    kept = (char for char in decomposed if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
    return "".join(char if char.isascii() else _latin(char) for char in kept).lower()


@functools.lru_cache(maxsize=4096)
def _latin(char: str) -> str:
    """The ASCII letter that a character looks like, or the character."""
    if not char.isalpha():
        return char
    from confusable_homoglyphs import confusables

    for one in dict.fromkeys((char, char.lower())):
        found = confusables.is_confusable(one, greedy=True)
        like = [other["c"] for entry in found or () for other in entry["homoglyphs"]]
        letters = [letter for letter in like if len(letter) == 1 and letter.isascii() and letter.isalpha()]
        if letters:
            return letters[0].lower()
    return char


def readings(text: str) -> list[frozenset[str]]:
    """By place, what its word may be read as; patterns have `.` for a letter that is hidden."""
    places: list[frozenset[str]] = []
    letters: list[str] = []  # that stand one by one
    for chunk in fold(text).split():
        alone = chunk.strip(_ENDS)
        if len(alone) == 1 and (alone.isalpha() or alone in _SINGLE_SIGNS):
            letters.append(alone)
            continue
        places += _spelled_out(letters)
        letters = []
        places += _of_chunk(chunk)
    places += _spelled_out(letters)
    return places


def _spelled_out(letters: list[str]) -> list[frozenset[str]]:
    """Three letters in a row, or more, are one place: the word that they spell, and words of four in the midst."""
    if len(letters) < 3:
        return [frozenset(unsigned(letter)) for letter in letters]
    whole = "".join(letters)
    parts = {whole[start:end] for start in range(len(whole) - 3) for end in range(start + 4, len(whole) + 1)} | {whole}
    return [frozenset(reading for part in parts for reading in unsigned(part))]


@functools.lru_cache(maxsize=1 << 16)
def _of_chunk(chunk: str) -> tuple[frozenset[str], ...]:
    """The words of what stands between two blanks."""
    found: list[set[str]] = []
    for match in _IN_WORDS.finditer(chunk):
        part = match[0].strip(_ENDS.replace("*", "").replace("#", ""))
        words = [{word.replace("’", "'")} for word in _LETTERS.findall(part)]
        plain = part.strip(_ENDS)
        whole: set[str] = set()  # what it may say as one word
        if _SPELLED.fullmatch(plain):
            whole |= unsigned(regex.sub(r"[^a-z0-9@$!]", "", plain))
        if any(map(str.isalpha, plain)) and regex.search(r"[a-z][0-9@$+€£!|¡(]|[0-9@$+€£!|¡(][a-z]", plain):
            whole |= {word for reading in unsigned(plain) for word in _LETTERS.findall(reading)}
        masked = part.rstrip("!?.,;:'\"")
        if _MASK.search(masked) and ("*" in masked or "#" in masked):
            hidden = regex.sub(r"[*#%&_.\-]", ".", masked)
            whole |= {hidden} if hidden[:1].isalpha() and sum(map(str.isalpha, hidden)) >= 2 else set()
            whole.add(regex.sub(r"[^a-z]", "", plain))
        if whole:
            words = [whole.union(*words)]
        found += words
    return tuple(
        frozenset(
            squeezed for word in words for reading in (word, word.removesuffix("'s")) for squeezed in _squeezed(reading)
        )
        for words in found
    )


def unsigned(word: str) -> set[str]:
    """What a word with digits and signs spells; nothing, if it is a number."""
    if not any(char.isalpha() for char in word) and len(word) > 1:
        return set()  # a number
    return {word.translate(_SIGNS).replace("1", one) for one in _ONE}


def _squeezed(word: str) -> set[str]:
    """A word with letters that are repeated for effect, as it is, and with two and with one of each."""
    return {word, _REPEATED.sub(r"\1\1", word), _REPEATED.sub(r"\1", word)}
