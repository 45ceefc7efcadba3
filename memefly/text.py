"""The one tokenizer of metrics, and the vocabulary: captions as a model reads and says them.

    >>> tokenize("One does NOT simply… “walk” into Mordor's gate!")
    ['one', 'does', 'not', 'simply', 'walk', 'into', "mordor's", 'gate']

Metrics read captions through `tokenize` alone, so a hypothesis and its references are always cut the same way.
Punctuation goes, as in the coco-caption evaluation; unlike its PTB tokenizer, "don't" stays one token. A model reads
its own captions by a `Spelling`, which may have more words than these.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from memefly import storage
from memefly.spelling import BREAK, GOES_ON, PLAIN, Spelling, spell, spell_graph
from memefly.storage import Place
from memefly.subwords import Cutter, cut_graph

if TYPE_CHECKING:
    import tensorflow as tf

PAD, START, END, UNKNOWN = RESERVED_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
PAD_ID, START_ID, END_ID, UNKNOWN_ID = range(len(RESERVED_TOKENS))

# Of the words of a vocabulary, where captions have breaks; it follows the tokens that all have.
RESERVED_WITH_BREAK = (*RESERVED_TOKENS, BREAK)


def reserved_tokens(spelling: Spelling) -> tuple[str, ...]:
    """What a vocabulary begins with."""
    return RESERVED_WITH_BREAK if spelling.breaks else RESERVED_TOKENS


def normalize(text: str) -> str:
    """Lower case, words apart by single spaces, nothing else."""
    return PLAIN.normalize(text)


@functools.lru_cache(maxsize=1 << 16)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(PLAIN.cut(text))


def tokenize(text: str) -> list[str]:
    """The words of a caption."""
    return list(_tokens(text))


def normalize_graph(texts: tf.Tensor) -> tf.Tensor:
    """`normalize` as graph ops: string tensor of any shape to one of the same shape."""
    return PLAIN.normalize_graph(texts)


def tokenize_graph(texts: tf.Tensor) -> tf.RaggedTensor:
    """`tokenize` as graph ops: string (N,) to ragged string (N, words)."""
    return PLAIN.cut_graph(texts)


class Vocabulary:
    """Words by id, as `Transform` wrote them: one a line, the reserved tokens first, then by falling frequency; or
    pieces of words (`memefly.subwords`), where some of them say so."""

    def __init__(self, words: Sequence[str]):
        if tuple(words[: len(RESERVED_TOKENS)]) != RESERVED_TOKENS:
            raise ValueError(f"a vocabulary starts with {RESERVED_TOKENS}, this one with {tuple(words[:4])}")
        self.words = tuple(words)
        self._ids = {word: i for i, word in enumerate(self.words)}
        self.has_pieces = any(word.startswith(GOES_ON) for word in self.words)
        self._cutter = Cutter(self.words) if self.has_pieces else None

    @classmethod
    def load(cls, path: str | Place) -> Vocabulary:
        return cls(storage.at(path).read_text(encoding="utf-8").splitlines())

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str, max_length: int | None = None, spelling: Spelling = PLAIN) -> list[int]:
        """Ids of a caption with `<s>` and `</s>` around it, cut to `max_length` ids."""
        words: Iterable[str] = spelling.cut(text)
        if self._cutter:
            words = (piece for word in words for piece in ([word] if word == BREAK else self._cutter(word)))
        return [START_ID, *(self._ids.get(word, UNKNOWN_ID) for word in words), END_ID][:max_length]

    def decode(self, ids: Iterable[int]) -> str:
        """The caption that `ids` spell, up to the first `</s>`; padding and `<s>` are passed over."""
        words = []
        for i in ids:
            if i == END_ID:
                break
            if i not in (PAD_ID, START_ID):
                words.append(self.words[i])
        return spell(words)


def encode_graph(texts: tf.Tensor, lookup, max_length: int, spelling: Spelling = PLAIN) -> tf.Tensor:
    """Token ids of captions, padded: string (N,) to int64 (N, max_length).

    `lookup` turns a ragged tensor of words into one of ids. A caption longer than fits is cut and loses its `</s>`,
    so that no model learns to end where only the scissors did.
    """
    import tensorflow as tf

    ids = lookup(spelling.cut_graph(texts))  # (N, words)
    rows = tf.shape(texts)[0]
    start = tf.fill([rows, 1], tf.constant(START_ID, tf.int64))
    end = tf.fill([rows, 1], tf.constant(END_ID, tf.int64))
    ids = tf.concat([start, ids, end], axis=1)
    return ids.to_tensor(default_value=PAD_ID, shape=[None, max_length])  # (N, max_length)


def prefix_graph(texts: tf.Tensor, lookup, spelling: Spelling, has_pieces: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """What captions are to begin with: string (B,) to the tokens, int32 (B, P) and padded, and to the words as they are
    spelled in it, string (B,), parted by blanks. A line break at the end is one between text boxes, where captions have
    some.

    `lookup` turns strings of any shape into ids int64, unknown ones into that of `<unk>`.
    """
    import tensorflow as tf

    words = spelling.cut_graph(texts)  # (B, words)
    if spelling.breaks:
        ends = tf.strings.regex_full_match(texts, r"(?s).*\S\s*\n\s*")
        breaks = tf.RaggedTensor.from_row_lengths(
            tf.fill([tf.math.count_nonzero(ends)], BREAK), tf.cast(ends, tf.int64)
        )
        words = tf.concat([words, breaks], axis=1)
    ids = cut_graph(words, lookup, UNKNOWN_ID) if has_pieces else words.with_values(lookup(words.values))
    tokens = tf.cast(ids.to_tensor(default_value=PAD_ID), tf.int32)
    return tokens, tf.strings.reduce_join(words, axis=1, separator=" ")


def decode_graph(ids: tf.Tensor, lookup, begun: tuple[tf.Tensor, tf.Tensor] | None = None) -> tf.Tensor:
    """Captions that ids spell: int (…, T) to string (…). `lookup` turns ids into words of the same shape. With `begun`,
    of ids (B, K, T), what `prefix_graph` gives: they begin with these tokens, which are spelled by these words."""
    import tensorflow as tf

    if begun is not None:
        tokens, words = begun
        length = tf.math.count_nonzero(tokens, axis=1, dtype=tf.int32)[:, tf.newaxis]  # (B, 1), padding is 0
        T = tf.shape(ids)[-1]
        at = tf.minimum(tf.range(T) + length, T)[:, tf.newaxis]  # (B, 1, T)
        padded = tf.pad(ids, [[0, 0], [0, 0], [0, 1]], constant_values=PAD_ID)
        rest = tf.gather(padded, tf.repeat(at, tf.shape(ids)[1], axis=1), batch_dims=2)  # (B, K, T)
        return spell_graph(tf.strings.strip(words[:, tf.newaxis] + " " + _joined(rest, lookup)))
    # What is not shown is all behind the words, and blanks there are.
    return spell_graph(_joined(ids, lookup))


def _joined(ids: tf.Tensor, lookup) -> tf.Tensor:
    """Words, parted by blanks, up to the first `</s>`: string (…)."""
    import tensorflow as tf

    # All up to the first </s>: a running count of them is zero there.
    before_end = tf.cumsum(tf.cast(tf.equal(ids, END_ID), tf.int32), axis=-1) == 0
    shown = before_end & (ids != PAD_ID)
    return tf.strings.reduce_join(tf.where(shown, lookup(ids), ""), axis=-1, separator=" ")
