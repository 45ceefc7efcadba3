"""What a hypothesis may not say next, by what it has said: the rules of a search, in the graph.

Four rules look back: no n-gram of words comes twice (Paulus et al., arXiv 1705.04304), no article or the like comes
last, no blocked phrase is said (`memefly.safety.constraint`), and text boxes are as many as are asked for, none of them
empty. They are about words. Where a vocabulary has pieces of words (`memefly.subwords`), a word is what its pieces
spell, however it is cut: hypotheses carry hashes of their words. A token that would end a word as it may not end is not
said; where only all of its pieces have made such a word, it has to go on.

Shapes: B pictures, K beams, T tokens, V words of the vocabulary, S states of blocked phrases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from memefly.decoding_config import LONGEST_NGRAM
from memefly.metrics.form import DANGLING
from memefly.safety.constraint import Blocked
from memefly.spelling import BREAK, GOES_ON
from memefly.text import END_ID, PAD_ID, RESERVED_TOKENS, START_ID, Vocabulary

NEVER = -1e9  # a log-probability that nothing outweighs, and that adds up without becoming NaN as -inf would
_BASE = 31  # of the hash of a word, in int32 that wraps around: 31^n c_1 + … + c_n over the code points of its letters
_FREE, _NO_BORDER, _NO_PIECE = range(3)  # what may follow a token: anything, only a piece that goes on, only none


class Pieces(NamedTuple):
    """What the tokens of a vocabulary of pieces are."""

    goes_on: np.ndarray  # bool (V,)
    signs: np.ndarray  # bool (V,), that no piece goes on with: punctuation, a break, what is reserved
    hashes: np.ndarray  # int32 (V,)
    powers: np.ndarray  # int32 (V,), what the hash of the word before a piece is multiplied by
    dangling: np.ndarray  # int32 (D,), hashes of words


def dangling_ids(vocabulary: Vocabulary) -> list[int]:
    """Ids of the words that no caption should end in, and of the break, after which something has to come."""
    return [i for i, word in enumerate(vocabulary.words) if word in DANGLING or word == BREAK]


def break_of(vocabulary: Vocabulary) -> int | None:
    """The id of the break; None where captions have none."""
    return vocabulary.words.index(BREAK) if BREAK in vocabulary.words else None


def pieces_of(vocabulary: Vocabulary) -> Pieces | None:
    """None for a vocabulary of whole words."""
    if not vocabulary.has_pieces:
        return None
    letters = [word.removeprefix(GOES_ON) for word in vocabulary.words]
    signs = [
        i < len(RESERVED_TOKENS) or word == BREAK or not (word.startswith(GOES_ON) or any(map(str.isalnum, word)))
        for i, word in enumerate(vocabulary.words)
    ]
    return Pieces(
        np.array([word.startswith(GOES_ON) for word in vocabulary.words]),
        np.array(signs),
        _int32([_hash(word) for word in letters]),
        _int32([pow(_BASE, len(word), 1 << 32) for word in letters]),
        _int32([_hash(word) for word in sorted(DANGLING)]),
    )


def _int32(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64).astype(np.uint32).view(np.int32)


def _hash(word: str) -> int:
    value = 0
    for char in word:
        value = (value * _BASE + ord(char)) % (1 << 32)
    return value


class Rules:
    """Of one search. `start` gives what hypotheses (B, K) carry along, a tuple of tensors (B, K, …); `after` what they
    carry when each has said one more token."""

    def __init__(
        self,
        size: int,
        dangling: Sequence[int],
        blocked: Blocked | None,
        pieces: Pieces | None,
        ngram: tf.Tensor | None,
        longest: int,
        min_length: tf.Tensor,
        boxes: tf.Tensor | None = None,
        break_id: int | None = None,
    ):
        """`size`: V. `dangling`: tokens that may not come last. `ngram` int32 () or (B, 1): of how many words one may
        not come twice, 0 for any, `longest` at most; None: any. `min_length` int32 () or (B, 1), words of a caption.
        `break_id`: what stands between two text boxes, if any; `boxes` int32 () or (B, 1), or 0 or None for any."""
        self._blocked, self._longest = blocked, longest
        self._boxes = None if break_id is None else _Boxes(size, break_id, boxes)
        self._ngram = ngram
        self._phrases = _Phrases(blocked) if blocked and blocked.has_phrases else None
        self._words = _Words(pieces, ngram, min_length, bool(dangling)) if pieces else None
        self._may_not_end = None  # (V,), what may not follow a token: </s> or, as that is said of all, <pad>
        if len(dangling):
            self.not_last = tf.reduce_max(tf.one_hot(list(dangling), size), axis=0)  # float32 (V,)
            self._may_not_end = tf.where(self.not_last > 0, END_ID, PAD_ID)
        else:
            self.not_last = tf.zeros([size])
        self.not_first = tf.constant(pieces.goes_on, tf.float32) if pieces else tf.zeros([size])

    def start(self, B, K, T: int) -> tuple:
        phrase = tf.zeros([B, K], tf.int32) if self._phrases else ()
        return phrase, self._words.start(B, K, T) if self._words else ()

    def forbid(self, step: tf.Tensor, said: tf.Tensor, carried: tuple, left: tf.Tensor) -> tf.Tensor:
        """Log-probabilities float32 (B, K, V) less what may not come next. `said` int32 (B, K, T + 1), padded before
        its start; `left` int32 () or (B, 1), tokens that may still come before </s>: with none style is no matter."""
        phrase, words = carried
        last, at_end = said[:, :, -1], tf.equal(left, 0)
        unsaid = [self._phrases.ends(phrase)] if self._phrases else []
        if self._may_not_end is not None:
            unsaid.append(tf.expand_dims(tf.gather(self._may_not_end, last), 2))
        if self._words:
            unsaid += self._words.unsaid(said, words, at_end)
        elif self._ngram is not None:
            unsaid.append(_repeats(said, self._ngram, self._longest))
        if self._boxes:
            unsaid.append(self._boxes.unsaid(said, at_end))
            if self._boxes.wanted is not None:
                step += self._boxes.break_now(said, self._boxes.wanted, left)
        if unsaid:
            step = _without(step, tf.concat(unsaid, axis=2))
        if self._words:
            open_word = self._phrases.open(phrase) if self._phrases else tf.zeros_like(last, tf.bool)
            step += self._words.borders(said, words, open_word, at_end)
        return step

    def after(self, carried: tuple, token: tf.Tensor) -> tuple:
        """`token` int32 (B, K), what each has said now."""
        phrase, words = carried
        return (
            self._phrases.after(phrase, token) if self._phrases else (),
            self._words.after(words, token) if self._words else (),
        )


class _Phrases:
    """The automaton of blocked phrases in the graph; states are int32 (B, K)."""

    def __init__(self, blocked: Blocked):
        self._kinds = tf.constant(blocked.kinds)  # (V,)
        self._follows = tf.constant(blocked.follows)  # (S, C)
        words = [np.flatnonzero(row[blocked.kinds]) for row in blocked.forbidden]
        table = np.full((len(words), max(1, *map(len, words))), PAD_ID, np.int32)
        for row, ids in zip(table, words):
            row[: len(ids)] = ids
        self._ends = tf.constant(table)  # (S, M), far less than rows of words, as few words end a phrase
        self._open = tf.constant(blocked.open)  # (S,)

    def ends(self, state: tf.Tensor) -> tf.Tensor:
        """Tokens that may not come next, <pad> among them: int32 (B, K, M)."""
        return tf.gather(self._ends, state)

    def open(self, state: tf.Tensor) -> tf.Tensor:
        """Whether a word is blocked as it is, and has to go on: bool (B, K)."""
        return tf.gather(self._open, state)

    def after(self, state: tf.Tensor, token: tf.Tensor) -> tf.Tensor:
        kinds = tf.shape(self._follows)[1]
        return tf.gather(tf.reshape(self._follows, [-1]), state * kinds + tf.gather(self._kinds, token))


class _Boxes:
    """Text boxes: none of them empty, and as many as are asked for, if any number is."""

    def __init__(self, size: int, break_id: int, wanted: tf.Tensor | None):
        self.wanted, self._break = wanted, break_id
        self._others = NEVER * (1 - tf.one_hot(break_id, size))  # (V,)

    def unsaid(self, said: tf.Tensor, at_end: tf.Tensor) -> tf.Tensor:
        """Tokens that may not come next, <pad> among them: int32 (B, K, …)."""
        last = said[:, :, -1:]
        empty = tf.where(tf.equal(last, self._break) | tf.equal(last, START_ID), self._break, PAD_ID)
        if self.wanted is None:
            return empty
        # Another one, or the end, whichever would be wrong.
        wrong = tf.where(self._more(said, self.wanted) > 0, tf.where(at_end, PAD_ID, END_ID), self._break)
        return tf.concat([empty, tf.expand_dims(tf.where(self.wanted > 0, wrong, PAD_ID), 2)], axis=2)

    def break_now(self, said: tf.Tensor, wanted: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        """Log-probabilities to add, float32 (B, K, V): nothing but a break, where there is room for a word in each box
        to come and no more."""
        more = self._more(said, wanted)
        now = (more > 0) & (left <= 2 * more) & (left > 0)
        return tf.where(tf.expand_dims(now, 2), self._others, 0.0)

    def _more(self, said: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        """Breaks to come, int32 (B, K); below 0 where any number is right."""
        return wanted - 1 - tf.reduce_sum(tf.cast(tf.equal(said, self._break), tf.int32), axis=2)


class _Words:
    """Words that are said in pieces.

    Carried are, int32: the hash of the word that is being said and of the three before it (B, K, 4); the same, as it
    was when each token was said, with 0 for a word that only began with it (B, K, T + 1, 4).
    """

    def __init__(self, pieces: Pieces, ngram: tf.Tensor | None, min_length: tf.Tensor, ends_matter: bool):
        self._goes_on, self._signs = tf.constant(pieces.goes_on), tf.constant(pieces.signs)
        self._hashes, self._powers = tf.constant(pieces.hashes), tf.constant(pieces.powers)
        self._dangling = tf.constant(pieces.dangling) if ends_matter else None
        self._ngram, self._min_length = ngram, min_length
        on = tf.cast(self._goes_on, tf.float32)
        self._borders = tf.stack([tf.zeros_like(on), 1 - on, on]) * NEVER  # (3, V)

    def start(self, B, K, T: int) -> tuple:
        return tf.zeros([B, K, LONGEST_NGRAM], tf.int32), tf.zeros([B, K, T + 1, LONGEST_NGRAM], tf.int32)

    def unsaid(self, said, carried, at_end) -> list[tf.Tensor]:
        """Tokens that may not come next, <pad> among them: int32 (B, K, …) each."""
        word, before = carried
        found = []
        if self._ngram is not None:
            found.append(tf.where(self._repeats(said, word, before), said, PAD_ID))
        begun = ~tf.gather(self._goes_on, said) & (said > START_ID)  # (B, K, T + 1)
        too_few = tf.reduce_sum(tf.cast(begun, tf.int32), axis=2) < self._min_length
        may_not_end = too_few
        if self._dangling is not None:
            may_not_end |= tf.reduce_any(tf.equal(word[:, :, :1], self._dangling), axis=2)
        found.append(tf.expand_dims(tf.where(may_not_end & ~at_end, END_ID, PAD_ID), 2))
        return found

    def _repeats(self, said, word, before) -> tf.Tensor:
        """bool (B, K, T + 1): whether this token ended an n-gram that it would end again."""
        goes_on = tf.gather(self._goes_on, said)  # (B, K, T + 1)
        border = tf.concat([tf.zeros_like(word[:, :, :1]), word[:, :, :-1]], axis=2)  # if a word is begun now
        now = tf.where(tf.expand_dims(goes_on, 3), tf.expand_dims(word, 2), tf.expand_dims(border, 2))
        return self._alike(before, now) & self._ended(goes_on)

    def _alike(self, before, now) -> tf.Tensor:
        """(B, K, T + 1, 4) and what is like it in shape to bool (B, K, T + 1): the same in the first `ngram` places."""
        size = tf.reshape(self._ngram, [-1, 1, 1, 1])  # (B or 1, 1, 1, 1)
        alike = tf.equal(before, now) | (tf.range(LONGEST_NGRAM) >= size)
        return tf.reduce_all(alike, axis=3) & (size[..., 0] > 0)

    def _ended(self, goes_on) -> tf.Tensor:
        """Whether each token was the last one of its word, as far as it is said."""
        return tf.concat([~goes_on[:, :, 1:], tf.ones_like(goes_on[:, :, :1])], axis=2)

    def borders(self, said, carried, open_word, at_end) -> tf.Tensor:
        """Log-probabilities to add, float32 (B, K, V)."""
        word, before = carried
        last = said[:, :, -1]
        if self._ngram is not None:
            # What every word was when it was whole, and what it came after: whether the one at the end is it again.
            own = tf.gather(self._hashes, said) + before[..., 0] * tf.gather(self._powers, said)
            whole = tf.concat([tf.expand_dims(own, 3), before[..., 1:]], axis=3)
            again = self._alike(whole, tf.expand_dims(word, 2)) & self._ended(tf.gather(self._goes_on, said))
            again = tf.reduce_any(again[:, :, :-1] & (said[:, :, :-1] > START_ID), axis=2)
            open_word |= again & ~at_end
        kind = tf.where(tf.gather(self._signs, last), _NO_PIECE, tf.where(open_word, _NO_BORDER, _FREE))
        return tf.gather(self._borders, kind)

    def after(self, carried, token) -> tuple:
        word, before = carried
        goes_on = tf.expand_dims(tf.gather(self._goes_on, token), 2)  # (B, K, 1)
        border = tf.concat([tf.zeros_like(word[:, :, :1]), word[:, :, :-1]], axis=2)
        then = tf.where(goes_on, word, border)  # (B, K, 4)
        own, power = (tf.expand_dims(tf.gather(of, token), 2) for of in (self._hashes, self._powers))
        word = tf.concat([then[:, :, :1] * power + own, then[:, :, 1:]], axis=2)
        return word, tf.concat([before[:, :, 1:], tf.expand_dims(then, 2)], axis=2)


def _repeats(said: tf.Tensor, size: tf.Tensor, longest: int) -> tf.Tensor:
    """Words that would end an n-gram which the hypothesis has said already, and others that are never said: int32
    (B, K, T + 1).

    said int32 (B, K, T + 1), padded before its start; size int32 () or (B, 1), 0 for none and `longest` at most.
    """
    T = said.shape[2]
    size = size[..., tf.newaxis] if size.shape.rank else size  # (B, 1, 1) or ()
    padded = tf.pad(said, [[0, 0], [0, 0], [longest - 1, 0]], constant_values=-1)  # -1: no word
    # <pad> and <s> are compared like words: what follows them is forbidden anyway, or the first word, which only an
    # n-gram from the start could repeat.
    repeats = tf.equal(size, 1)
    alike: tf.Tensor | bool = True  # (B, K, T + 1), whether the words before each, one by one, are the last ones
    for back in range(1, longest):
        earlier = padded[:, :, longest - 1 - back :][:, :, :T]  # the word `back` places before each
        alike &= tf.equal(earlier, said[:, :, T - back : T - back + 1])
        repeats |= alike & tf.equal(size, back + 1)
    return tf.where(repeats, said, PAD_ID)


def _without(step: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """Log-probabilities (B, K, V) where `words` (B, K, M) of each hypothesis, and <pad>, are never said."""
    B, K, V = tf.unstack(tf.shape(step))
    row = tf.range(B * K)[:, tf.newaxis] * V  # (N, 1)
    index = tf.reshape(row + tf.reshape(words, [B * K, -1]), [-1, 1])
    blocked = tf.scatter_nd(index, tf.fill([tf.size(index)], NEVER), [tf.size(step)])  # those of a word add up
    return step + tf.reshape(blocked, tf.shape(step))
