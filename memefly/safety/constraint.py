"""Blocked words and phrases as what a search needs: which token may follow which.

    >>> blocked = constrain(vocabulary.words, lists)
    >>> blocked.forbidden[0][blocked.kinds[token]]   # whether the token would end a blocked phrase

A deterministic automaton over kinds of tokens (Aho and Corasick, CACM 1975, by the subset construction): its states are
the beginnings of phrases that a caption ends with. Breaks and punctuation are not seen, so a phrase is one across them
too; words that are spelled out letter by letter, where a vocabulary has letters, are phrases like others. What the
lists allow inside a longer phrase is blocked here all the same.

Shapes: V tokens, C kinds of tokens, S states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from memefly.safety import reading
from memefly.safety.words import Phrase, WordLists
from memefly.spelling import BREAK, PLAIN

_SHORTEST_SPELLED = 3  # letters, as `reading` takes them for a word


class Blocked(NamedTuple):
    """`words` are tokens that are never said. `kinds` int32 (V,); `follows` int32 (S, C), the next state; `forbidden`
    bool (S, C). `open` bool (S,): a word that is said in pieces is blocked as it is, and has to go on. The first state
    is that of a caption's start. Without phrases S is 1, and nothing is forbidden."""

    words: list[int]
    kinds: np.ndarray
    follows: np.ndarray
    forbidden: np.ndarray
    open: np.ndarray

    @property
    def has_phrases(self) -> bool:
        return bool(self.forbidden.any() or self.open.any())


def constrain(words: Sequence[str], lists: WordLists, reserved: int = 4) -> Blocked:
    """`words` of a vocabulary, of which the first `reserved` are no words."""
    readings = [_readings(word) if i >= reserved else frozenset() for i, word in enumerate(words)]
    alone = [i for i, word in enumerate(words) if i >= reserved and word != BREAK and lists.find(word)]
    said = set(range(reserved, len(words))) - set(alone)
    sequences = [sequence for phrase in lists.phrases for sequence in _sequences(phrase, words, readings, said)]
    sequences = [sequence for sequence in sequences if all(sequence)]
    places: dict[int, set[tuple[int, int]]] = {}  # by token, where it stands in which sequence
    for number, sequence in enumerate(sequences):
        for place, tokens in enumerate(sequence):
            for token in tokens:
                places.setdefault(token, set()).add((number, place))
    unseen = {i for i in said if i not in places and (words[i] == BREAK or not PLAIN.cut(words[i]))}
    # Kind 0 leaves a state as it is, kind 1 stands in no sequence.
    numbers: dict[frozenset, int] = {}
    kinds = np.ones(len(words), np.int32)
    for token in range(len(words)):
        if token in unseen:
            kinds[token] = 0
        elif token in places:
            kinds[token] = numbers.setdefault(frozenset(places[token]), len(numbers) + 2)
    follows, forbidden = _automaton([len(sequence) for sequence in sequences], list(numbers))
    return Blocked(alone, kinds, follows, forbidden, np.zeros(len(follows), bool))


def _readings(word: str) -> frozenset[str]:
    return frozenset().union(*reading.readings(word))


def _sequences(
    phrase: Phrase, words: Sequence[str], readings: Sequence[frozenset[str]], said: set[int]
) -> list[list[set[int]]]:
    """The tokens that may stand at each place of a phrase, and at each letter of what it spells."""
    found = []
    if len(phrase.words) > 1:
        places = range(len(phrase.words))
        found.append([{i for i in said if any(phrase.has(place, one) for one in readings[i])} for place in places])
    letters = "".join(phrase.words)
    if len(letters) >= _SHORTEST_SPELLED:
        found.append([{i for i in said if len(words[i]) == 1 and letter in readings[i]} for letter in letters])
    return found


def _automaton(lengths: Sequence[int], kinds: Sequence[frozenset]) -> tuple[np.ndarray, np.ndarray]:
    begins = [frozenset((number, 1) for number, place in kind if place == 0) for kind in kinds]
    states: dict[frozenset, int] = {frozenset(): 0}
    queue: list[frozenset] = [frozenset()]
    follows, forbidden = [], []
    for state in queue:  # which grows meanwhile
        row, ends = [states[state], 0], [False, False]
        for kind, begin in zip(kinds, begins):
            reached = begin | {(number, place + 1) for number, place in state if (number, place) in kind}
            ends.append(any(place == lengths[number] for number, place in reached))
            reached = frozenset((number, place) for number, place in reached if place < lengths[number])
            if reached not in states:
                states[reached] = len(states)
                queue.append(reached)
            row.append(states[reached])
        follows.append(row)
        forbidden.append(ends)
    return np.array(follows, np.int32), np.array(forbidden, bool)
