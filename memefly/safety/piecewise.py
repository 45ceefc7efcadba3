"""Blocked words and phrases where a vocabulary has pieces of words: which pieces together say one.

    >>> blocked = constrain_pieces(vocabulary.words, lists)
    >>> blocked.open[state]                       # whether a caption may not go on with another word, nor end

What `memefly.safety.constraint` is for whole words. The automaton reads letter by letter, and so whatever way a word is
cut: through accents and letters of other scripts, signs and digits that stand for letters, and an `'s` behind a word.
Letters that are repeated or stand apart, stars, and what is parted inside a word are left to those who read captions
whole (`memefly.exported.captions`).

Shapes: V tokens, C kinds of tokens, S states.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from memefly.safety import reading
from memefly.safety.constraint import Blocked
from memefly.safety.words import ALLOWED, WordLists
from memefly.spelling import BREAK, GOES_ON

_POSSESSIVE = "'s"


class _Sought(NamedTuple):
    words: tuple[str, ...]  # each with its possessive
    open: bool
    allowed: bool


class _Item(NamedTuple):
    """A beginning of what is sought."""

    number: int
    place: int
    offset: int
    lettered: bool  # whether a character was read as itself: digits alone are a number


_State = frozenset[_Item]


def constrain_pieces(words: Sequence[str], lists: WordLists, reserved: int = 4) -> Blocked:
    """`words` of a vocabulary of pieces, of which the first `reserved` are none."""
    sought = [
        _Sought(tuple(word + _POSSESSIVE for word in phrase.words), phrase.open, phrase.category == ALLOWED)
        for phrase in (*lists.phrases, *(p for p in lists.allowed if len(p.words) == 1))
    ]
    reader = _Reader(sought)
    letters = [[_letters(char) for char in word.removeprefix(GOES_ON)] for word in words]
    unseen = {  # breaks and signs part no phrase
        i
        for i, word in enumerate(words)
        if i >= reserved and (word == BREAK or not (word.startswith(GOES_ON) or any(map(str.isalnum, word))))
    }
    spoken = [i for i in range(reserved, len(words)) if i not in unseen]
    begins = [i for i in spoken if not words[i].startswith(GOES_ON)]
    by_letter: dict[str, list[int]] = defaultdict(list)  # pieces that go on, by what their first letter may be
    for i in spoken:
        if words[i].startswith(GOES_ON):
            for letter, _ in letters[i][0]:
                by_letter[letter].append(i)
    fresh = {i: reader.read_new(letters[i]) for i in begins}
    states: dict[_State, int] = {frozenset(): 0}
    queue: list[_State] = [frozenset()]

    def number(state: _State) -> int:
        if state not in states:
            states[state] = len(states)
            queue.append(state)
        return states[state]

    root = np.zeros(len(words), np.int32)
    for i, state in fresh.items():
        root[i] = number(state)
    follows, forbidden = [], []
    for state in queue:  # which grows meanwhile
        row, ends = root.copy(), np.zeros(len(words), bool)
        row[list(unseen)] = states[state]
        for i, reached in _reached(reader, state, letters, begins, by_letter, fresh):
            if reader.is_lost(reached):
                ends[i] = True
            else:
                row[i] = number(reached)
        follows.append(row)
        forbidden.append(ends)
    for i, state in fresh.items():  # what a piece says at once, wherever it stands
        if reader.is_lost(state):
            for ends in forbidden:
                ends[i] = True
    table, ends = np.stack(follows), np.stack(forbidden)
    _, first, kinds = np.unique(np.concatenate([table, ends]), axis=1, return_index=True, return_inverse=True)
    opened = np.array([reader.is_blocked(state) for state in queue])
    return Blocked([], kinds.reshape(-1).astype(np.int32), table[:, first], ends[:, first], opened)


def _reached(
    reader: _Reader,
    state: _State,
    letters: Sequence[list],
    begins: Sequence[int],
    by_letter: dict[str, list[int]],
    fresh: dict[int, _State],
) -> Iterator[tuple[int, _State]]:
    """Where tokens lead from a state, but for those that only begin anew."""
    going_on = {i for letter in reader.wanted(state) for i in by_letter.get(letter, ())}
    if reader.has_tail(state):  # an open word is blocked whatever follows
        going_on = {i for pieces in by_letter.values() for i in pieces}
    for i in sorted(going_on):
        if reached := reader.read(state, letters[i]):
            yield i, reached
    if carried := reader.carried(state):
        wanted = reader.wanted(carried)
        for i in begins:
            if any(letter in wanted for letter, _ in letters[i][0]):
                yield i, fresh[i] | reader.read(carried, letters[i])


class _Reader:
    def __init__(self, sought: Sequence[_Sought]):
        self._sought = sought
        self._starts: dict[str, list[_Item]] = defaultdict(list)
        for n, one in enumerate(sought):
            self._starts[one.words[0][0]].append(_Item(n, 0, 0, False))

    def read_new(self, letters: Sequence[frozenset[tuple[str, bool]]]) -> _State:
        """From the start of a word."""
        return self.read({item for letter, _ in letters[0] for item in self._starts[letter]}, letters)

    def read(self, state: Iterable[_Item], letters: Sequence[frozenset[tuple[str, bool]]]) -> _State:
        for options in letters:
            state = frozenset(then for item in state for option in options for then in self._after(item, *option))
        return frozenset(state)

    def _after(self, item: _Item, letter: str, plain: bool) -> Iterator[_Item]:
        sought = self._sought[item.number]
        word = sought.words[item.place]
        if self._is_tail(item):
            yield item
            return
        if item.offset < len(word) and word[item.offset] == letter:
            yield _Item(item.number, item.place, item.offset + 1, item.lettered or plain)

    def _is_tail(self, item: _Item) -> bool:
        """Whether it is an open word, to which any letter may be added."""
        sought = self._sought[item.number]
        length = len(sought.words[item.place]) - len(_POSSESSIVE)
        return sought.open and item.place == len(sought.words) - 1 and item.offset >= length

    def has_tail(self, state: _State) -> bool:
        return any(map(self._is_tail, state))

    def _is_word(self, item: _Item) -> bool:
        length = len(self._sought[item.number].words[item.place])
        return item.lettered and (item.offset in (length - len(_POSSESSIVE), length) or self._is_tail(item))

    def wanted(self, state: _State) -> set[str]:
        """What the next letter may be for it to matter."""
        items = ((self._sought[item.number].words[item.place], item.offset) for item in state)
        return {word[offset] for word, offset in items if offset < len(word)}

    def carried(self, state: _State) -> _State:
        """What goes on with the next word."""
        return frozenset(
            _Item(item.number, item.place + 1, 0, False)
            for item in state
            if item.place + 1 < len(self._sought[item.number].words) and self._is_word(item)
        )

    def _said(self, state: _State, allowed: bool) -> list[_Item]:
        return [
            item
            for item in state
            if self._sought[item.number].allowed == allowed
            and item.place == len(self._sought[item.number].words) - 1
            and self._is_word(item)
        ]

    def is_blocked(self, state: _State) -> bool:
        """Whether the word is, as it is."""
        return bool(self._said(state, False)) and not self._said(state, True)

    def is_lost(self, state: _State) -> bool:
        """Whether no letter could make it another word any more."""
        if not any(self._is_tail(item) for item in self._said(state, False)):
            return False
        return not any(self._sought[item.number].allowed for item in state)


def _letters(char: str) -> frozenset[tuple[str, bool]]:
    """What a character may be read as, and whether as what it is."""
    folded = reading.fold(char)
    return frozenset(
        {(folded, True), (char, True)} | {(letter, False) for letter in reading.unsigned(folded) if letter != folded}
    )
