"""Word lists, matched at the borders of words.

    >>> lists = WordLists.kept(["hate", "sexual"])
    >>> lists.find("scunthorpe united")
    []

A line of a list is a word or a phrase; with `*` at its end, whatever it begins. What is allowed covers what stands in
it: of "moby dick" nothing is found.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import regex

from memefly.safety import reading

LISTS = Path(__file__).parent / "lists"
ALLOWED, MILD = "allowed", "profanity"
_SHORTEST_MASKED = 4  # letters of a word that is looked for behind stars


@dataclass(frozen=True)
class Match:
    """Places of words, from `start` to before `end`."""

    category: str
    entry: str
    start: int
    end: int


@dataclass(frozen=True)
class Phrase:
    words: tuple[str, ...]
    open: bool  # whether the last word has any ending
    category: str

    def has(self, place: int, word: str) -> bool:
        """Whether a reading of a word is that of the phrase at this place."""
        wanted = self.words[place]
        if self.open and place == len(self.words) - 1:
            return word.startswith(wanted)
        if "." in word and len(wanted) >= _SHORTEST_MASKED and len(word) == len(wanted):
            return bool(regex.fullmatch(word, wanted))
        return word == wanted


class WordLists:
    """Thread-safe, and the same for the same lists: `digest` says which they are."""

    def __init__(self, lists: Mapping[str, Iterable[str]], allowed: Iterable[str] = ()):
        """`lists`: entries by category; of an entry in several, the first has it."""
        self.phrases = tuple(
            dict.fromkeys(_phrase(entry, name) for name, entries in lists.items() for entry in entries)
        )
        self.allowed = tuple(_phrase(entry, ALLOWED) for entry in allowed)
        said = [f"{p.category}\0{' '.join(p.words)}{'*' * p.open}" for p in (*self.phrases, *self.allowed)]
        self.digest = hashlib.sha256("\n".join(sorted(said)).encode("utf-8")).hexdigest()
        self._by_start: dict[str, list[Phrase]] = {}
        self._joined: dict[str, Phrase] = {}
        self._open: dict[str, Phrase] = {}
        for phrase in (*self.phrases, *self.allowed):
            self._by_start.setdefault(phrase.words[0], []).append(phrase)
            if phrase.category != ALLOWED:
                self._joined.setdefault("".join(phrase.words), phrase)
                if phrase.open and len(phrase.words) == 1:
                    self._open.setdefault(phrase.words[0], phrase)

    @classmethod
    def kept(cls, categories: Iterable[str], block: Iterable[str] = (), allow: Iterable[str] = ()) -> WordLists:
        """Those of this package, with entries of one's own."""
        lists = {name: read(name) for name in categories}
        # What stars hide is taken for the milder word, where that one may be said.
        mild = () if MILD in lists else (entry for entry in read(MILD) if " " not in entry)
        return cls(lists | {"blocked": tuple(block)}, (*read(ALLOWED), *mild, *allow))

    def find(self, text: str) -> list[Match]:
        """What stands in a text and is not allowed there, in order."""
        places = reading.readings(text)
        found = [match for start in range(len(places)) for match in self._at(places, start)]
        allowed = [match for match in found if match.category == ALLOWED]
        return [
            match
            for match in found
            if match.category != ALLOWED and not any(a.start <= match.start and match.end <= a.end for a in allowed)
        ]

    def _at(self, places: list[frozenset[str]], start: int) -> list[Match]:
        found: dict[tuple[str, int], Match] = {}
        for word in sorted(places[start]):
            phrases = list(self._by_start.get(word, ()))
            if word in self._joined:
                phrases.append(Phrase((word,), False, self._joined[word].category))
            phrases += [self._open[word[:n]] for n in range(2, len(word) + 1) if word[:n] in self._open]
            if "." in word:
                singles = [phrase for phrase in (*self.phrases, *self.allowed) if len(phrase.words) == 1]
                phrases += [p for p in singles if (_begins(word, p.words[0]) if p.open else p.has(0, word))]
            for phrase in phrases:
                end = start + len(phrase.words)
                rest = places[start + 1 : end]
                if end <= len(places) and all(any(phrase.has(i, w) for w in ws) for i, ws in enumerate(rest, start=1)):
                    entry = " ".join(phrase.words) + "*" * phrase.open
                    found.setdefault((phrase.category, end), Match(phrase.category, entry, start, end))
        return list(found.values())


@functools.cache
def read(name: str) -> tuple[str, ...]:
    """The entries of a list of this package."""
    lines = (LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _phrase(entry: str, category: str) -> Phrase:
    open_ = entry.endswith("*")
    words = tuple(regex.findall(r"[^\W_]+(?:'[^\W_]+)*", reading.fold(entry.rstrip("*"))))
    if not words:
        raise ValueError(f"{entry!r} has no word to be found by")
    return Phrase(words, open_, category)


def _begins(pattern: str, start: str) -> bool:
    """Whether a word with hidden letters may begin so; that much of it must be there."""
    head = pattern[: len(start)]
    shown = sum(char != "." for char in head)
    return (
        len(start) >= _SHORTEST_MASKED and len(head) == len(start) and shown >= 2 and bool(regex.fullmatch(head, start))
    )
