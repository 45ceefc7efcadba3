"""The one normaliser and tokenizer: the same rules as plain Python and as graph ops.

    >>> tokenize("One does NOT simply… “walk” into Mordor's gate!")
    ['one', 'does', 'not', 'simply', 'walk', 'into', "mordor's", 'gate']

Captions are lower-cased; letters, combining marks, digits and apostrophes inside a word are kept, all else parts
words. Metrics, the vocabulary and the training tokens read captions through these rules alone, so a hypothesis and
its references are always cut the same way. Punctuation goes, as in the coco-caption evaluation; unlike its PTB
tokenizer, "don't" stays one token.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    import tensorflow as tf

PAD, START, END, UNKNOWN = RESERVED_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
PAD_ID, START_ID, END_ID, UNKNOWN_ID = range(len(RESERVED_TOKENS))

# (pattern, replacement), applied in this order to lower-cased text by `regex` and by RE2, which read them alike.
_RULES = (
    (r"[’‘`´ʼ＇]", "'"),
    (r"[^\p{L}\p{M}\p{N}']+", " "),
    (r"(^| )'+", " "),  # an opening quote
    (r"'+( |$)", " "),  # a closing quote, or the apostrophe of "dogs'"
    (r" +", " "),
)


def normalize(text: str) -> str:
    """Lower case, words apart by single spaces, nothing else."""
    text = text.lower()
    for pattern, replacement in _RULES:
        text = regex.sub(pattern, replacement, text)
    return text.strip(" ")


@functools.lru_cache(maxsize=1 << 16)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(normalize(text).split())


def tokenize(text: str) -> list[str]:
    """The words of a caption."""
    return list(_tokens(text))


def normalize_graph(texts: tf.Tensor) -> tf.Tensor:
    """`normalize` as graph ops: string tensor of any shape to one of the same shape."""
    import tensorflow as tf

    texts = tf.strings.regex_replace(texts, r"\x00", " ")  # where `lower` would take the text to end
    texts = tf.strings.lower(texts, encoding="utf-8")
    for pattern, replacement in _RULES:
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return tf.strings.strip(texts)


def tokenize_graph(texts: tf.Tensor) -> tf.RaggedTensor:
    """`tokenize` as graph ops: string (N,) to ragged string (N, words)."""
    import tensorflow as tf

    return tf.strings.split(normalize_graph(texts))


class Vocabulary:
    """Words by id, as `Transform` wrote them: one a line, the reserved tokens first, then by falling frequency."""

    def __init__(self, words: Sequence[str]):
        if tuple(words[: len(RESERVED_TOKENS)]) != RESERVED_TOKENS:
            raise ValueError(f"a vocabulary starts with {RESERVED_TOKENS}, this one with {tuple(words[:4])}")
        self.words = tuple(words)
        self._ids = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        return cls(Path(path).read_text(encoding="utf-8").splitlines())

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """Ids of a caption with `<s>` and `</s>` around it, cut to `max_length` ids."""
        ids = [START_ID, *(self._ids.get(word, UNKNOWN_ID) for word in tokenize(text)), END_ID]
        return ids[:max_length]

    def decode(self, ids: Iterable[int]) -> str:
        """The caption that `ids` spell, up to the first `</s>`; padding and `<s>` are passed over."""
        words = []
        for i in ids:
            if i == END_ID:
                break
            if i not in (PAD_ID, START_ID):
                words.append(self.words[i])
        return " ".join(words)


def encode_graph(texts: tf.Tensor, lookup, max_length: int) -> tf.Tensor:
    """Token ids of captions, padded: string (N,) to int64 (N, max_length).

    `lookup` turns a ragged tensor of words into one of ids. A caption longer than fits is cut and loses its `</s>`,
    so that no model learns to end where only the scissors did.
    """
    import tensorflow as tf

    ids = lookup(tokenize_graph(texts))  # (N, words)
    rows = tf.shape(texts)[0]
    start = tf.fill([rows, 1], tf.constant(START_ID, tf.int64))
    end = tf.fill([rows, 1], tf.constant(END_ID, tf.int64))
    ids = tf.concat([start, ids, end], axis=1)
    return ids.to_tensor(default_value=PAD_ID, shape=[None, max_length])  # (N, max_length)


def decode_graph(ids: tf.Tensor, lookup) -> tf.Tensor:
    """Captions that ids spell: int (…, T) to string (…). `lookup` turns ids into words of the same shape."""
    import tensorflow as tf

    # All up to the first </s>: a running count of them is zero there.
    before_end = tf.cumsum(tf.cast(tf.equal(ids, END_ID), tf.int32), axis=-1) == 0
    shown = before_end & (ids != PAD_ID)
    spelled = tf.strings.reduce_join(tf.where(shown, lookup(ids), ""), axis=-1, separator=" ")
    return tf.strings.strip(spelled)  # what is not shown is all behind the words
