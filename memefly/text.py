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

# Letters, marks and digits of Unicode 15.1 and later: `regex` knows them, RE2 in TensorFlow 2.16 and 2.21 does not.
_LATER = (
    "558 58B-58C 5C8-5C9 88F 897 B53-B54 C5C CDC 1ACF-1AF0 1C89-1C8A 208F 209D-209F A7CB-A7CF A7D2 A7D4 A7DA-A7DD "
    "A7E2 A7F1 AB6C-AB6D 105C0-105F3 107BB-107BF 10940-10959 10D40-10D65 10D69-10D6D 10D6F-10D85 10EC2-10EC7 "
    "10ECB-10ECF 10ED9-10EEE 10EF0-10EFC 11380-11389 1138B 1138E 11390-113B5 113B7-113C0 113C2 113C5 113C7-113CA "
    "113CC-113D3 113E1-113E2 116D0-116E3 11B0A 11B60-11B67 11BC0-11BE0 11BF0-11BF9 11DB0-11DDB 11DE0-11DE9 "
    "11DF0-11DF1 11F5A 1246F 12475-1247F 12550-12686 13460-143FA 16100-16139 16D40-16D6C 16D70-16D79 16EA0-16EB8 "
    "16EBB-16ED3 16FF2-16FF6 187F8-187FF 18CD6-18CDA 18CFF 18D09-18D20 18D80-18DF2 18E00-19191 191A0-191D2 "
    "1B123-1B128 1B168 1CCF0-1CCF9 1D127-1D128 1D250-1D252 1D25B-1D25C 1D25F 1D280-1D281 1D6A6 1DF1F-1DF24 "
    "1DF2B-1DF81 1DF90-1DF96 1DFCD-1DFFF 1E5D0-1E5FA 1E6C0-1E6DE 1E6E0-1E6F5 1E6FE-1E6FF 2B73A-2B73F 2B81E "
    "2CEA2-2CEAD 2EBF0-2EE5D 323B0-33479 3D000-3FC3F "
)
_LETTERS = r"\p{L}\p{M}\p{N}" + "".join("-".join(chr(int(c, 16)) for c in r.split("-")) for r in _LATER.split())
# Capitals of Unicode 14: newer Pythons have their small letters, TensorFlow has not.
_CAPITALS = regex.compile("([ⰯꟀꟐꟖꟘ𐕰-𐕺𐕼-𐖊𐖌-𐖒𐖔𐖕])")

# (pattern, replacement), applied in this order to lower-cased text by `regex` and by RE2, which read them alike.
_RULES = (
    (r"[’‘`´ʼ＇]", "'"),
    (rf"[^{_LETTERS}']+", " "),
    (r"(^| )'+", " "),  # an opening quote
    (r"'+( |$)", " "),  # a closing quote, or the apostrophe of "dogs'"
    (r" +", " "),
)


def normalize(text: str) -> str:
    """Lower case, words apart by single spaces, nothing else."""
    if text.isascii():
        text = text.lower()
    else:
        text = "".join(part if i % 2 else part.lower() for i, part in enumerate(_CAPITALS.split(text)))
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
