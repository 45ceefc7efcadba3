"""Texts cut into words, and words spelled as text again, by the same rules as plain Python and as graph ops.

    >>> PLAIN.cut("One does NOT simply... walk into Mordor's gate!")
    ['one', 'does', 'not', 'simply', 'walk', 'into', "mordor's", 'gate']
    >>> words = Spelling(breaks=True, punctuation="keep").cut("One does NOT simply...\nwalk, my friend!")
    >>> words
    ['one', 'does', 'not', 'simply', '…', '<br>', 'walk', ',', 'my', 'friend', '!']
    >>> spell(words)
    'one does not simply…\nwalk, my friend!'

Captions are lower-cased; letters, combining marks, digits and apostrophes inside a word are kept, all else parts words.
`PLAIN` is that alone, and how metrics read, always. A model may learn more of what people write: where a line ends (in
memes, where one text box ends and the next begins), punctuation, emoji. Spelling needs no configuration, since the
words say it all; and what was spelled is cut into the same words again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import regex
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import tensorflow as tf

BREAK = "<br>"  # no word of a text is called so: what it is made of is no letter
GOES_ON = "##"  # before a piece that goes on with a word (`memefly.subwords`), and in no word


def _characters(ranges: str) -> str:
    """Of hexadecimal ranges, what stands for them between brackets."""
    return "".join("-".join(chr(int(c, 16)) for c in r.split("-")) for r in ranges.split())


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
_LETTERS = r"\p{L}\p{M}\p{N}" + _characters(_LATER)
# Capitals of Unicode 14: newer Pythons have their small letters, TensorFlow has not.
_CAPITALS = regex.compile("([ⰯꟀꟐꟖꟘ𐕰-𐕺𐕼-𐖊𐖌-𐖒𐖔𐖕])")

# What people draw with, but for what Unicode counts among letters and digits.
_EMOJI = _characters(
    "203C 2049 2122 2194-21AA 231A-23FF 24C2 25AA-25FE 2600-275F 2761-2767 2794-27BF 2934-2935 2B00-2BFF 3030 303D "
    "3297 3299 1F000-1F0FF 1F170-1F64F 1F680-1FAFF"
)
_ONE_EMOJI = f"[{_EMOJI}]" + "[\ufe0f\U0001f3fb-\U0001f3ff]*"  # its presentation, the colour of a skin
_FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
_JOINER = "\u200d"  # inside an emoji that is put together of several

# Of Unicode's private use: they stand for what the next rules must not see, until the last ones put it back.
_JOINED, _DOT, _COMMA, _HYPHEN, _END_OF_LINE = _ASIDE = "\ue000\ue001\ue002\ue003\ue004"
_PUT_BACK = ((_JOINED, _JOINER), (_DOT, "."), (_COMMA, ","), (_HYPHEN, "-"), (_END_OF_LINE, BREAK))

_OPENING, _APART = "‘", "–"  # as words: a quote before one, a dash with blanks around it
_AGAIN = 2  # matches do not overlap: of a-b-c the second hyphen is seen the second time
_PUNCTUATION = (
    *((r"(\p{N})\.(\p{N})", rf"\1{_DOT}\2"),) * _AGAIN,
    *((r"(\p{N}),(\p{N})", rf"\1{_COMMA}\2"),) * _AGAIN,
    *((rf"([{_LETTERS}])-([{_LETTERS}])", rf"\1{_HYPHEN}\2"),) * _AGAIN,
    (r"[-–—―−]+", f" {_APART} "),
    (rf"([.,!?…{_HYPHEN}{_END_OF_LINE}])", r" \1 "),
)
_KEPT_QUOTES = (
    (r"\.(?: *\.)+", " … "),
    (r" +", " "),
    (rf"(^| )'+([{_LETTERS}])", rf"\1{_OPENING} \2"),
    (r"'+( |$)", r" '\1"),
    (r"(^| )'+", r"\1' "),
    (r" +", " "),
    (r"'( ')+", "'"),
)
_NO_QUOTES = (
    (r"(^| )'+", " "),  # an opening quote
    (r"'+( |$)", " "),  # a closing quote, or the apostrophe of "dogs'"
)
_SPELLED = (
    (rf"^{GOES_ON}| {GOES_ON}", ""),
    (r" ([.,!?…'])", r"\1"),  # no word begins with one
    (r" - ", "-"),
    (rf"{_OPENING} ?", "'"),
    (_APART, "-"),
    (rf"(?: ?{BREAK} ?)+", "\n"),
)


@functools.cache
def _rules(breaks: bool, punctuation: str, emoji: str) -> tuple[tuple[str, str], ...]:
    """(pattern, replacement), to be applied in this order to lower-cased text by `regex` and by RE2, which read them
    alike."""
    kept, rules = f"{_LETTERS}'", [(r"[’‘`´ʼ＇]", "'")]
    if (breaks, punctuation, emoji) == (False, "drop", "drop"):
        return (*rules, (f"[^{kept}]+", " "), *_NO_QUOTES, (r" +", " "))
    rules.insert(0, (f"[{_ASIDE}]", " "))
    kept += _ASIDE
    if breaks:
        rules.append((r"\n", f" {_END_OF_LINE} "))
    if emoji == "keep":
        rules += [(f"({_ONE_EMOJI}){_JOINER}([{_EMOJI}])", rf"\1{_JOINED}\2")] * _AGAIN
        rules.append((f"({_FLAG}|{_ONE_EMOJI}(?:{_JOINED}{_ONE_EMOJI})*)", r" \1 "))
        rules.append((f" {_JOINED}", " "))  # flags are joined to nothing
        kept += _EMOJI
    if punctuation == "keep":
        rules += _PUNCTUATION
        kept += f".,!?…{_APART}"
    rules.append((f"[^{kept}]+", " "))
    rules += _KEPT_QUOTES if punctuation == "keep" else _NO_QUOTES
    rules.append((rf"(^| )(?:{_END_OF_LINE}(?: |$))+$", ""))
    rules.append((rf"^ *(?:{_END_OF_LINE} )+", ""))
    rules.append((rf"{_END_OF_LINE}(?: +{_END_OF_LINE})+", _END_OF_LINE))
    return (*rules, (r" +", " "), *_PUT_BACK)


class Spelling(BaseModel):
    """What of a text is a word for a model, beside its words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    breaks: bool = Field(False, description="where a line ends, and in memes a text box, is a word of its own")
    punctuation: Literal["drop", "keep"] = Field("drop", description="keep: . , ! ? … ' - are words of their own")
    emoji: Literal["drop", "keep"] = Field("drop", description="keep: each is a word of its own")

    @classmethod
    def of_text(cls, text: Mapping[str, Any]) -> Spelling:
        """Of the section `text` of a configuration; older ones say less."""
        return cls(**{name: text[name] for name in cls.model_fields if name in text})

    def normalize(self, text: str) -> str:
        """Lower case, words apart by single blanks, nothing else."""
        if text.isascii():
            text = text.lower()
        else:
            text = "".join(part if i % 2 else part.lower() for i, part in enumerate(_CAPITALS.split(text)))
        return _apply(self._rules, text).strip(" ")

    def cut(self, text: str) -> list[str]:
        """The words of a text."""
        return self.normalize(text).split()

    def normalize_graph(self, texts: tf.Tensor) -> tf.Tensor:
        """`normalize` as graph ops: string tensor of any shape to one of the same shape."""
        import tensorflow as tf

        texts = tf.strings.regex_replace(texts, r"\x00", " ")  # where `lower` would take the text to end
        return tf.strings.strip(_apply_graph(self._rules, tf.strings.lower(texts, encoding="utf-8")))

    def cut_graph(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """`cut` as graph ops: string (N,) to ragged string (N, words)."""
        import tensorflow as tf

        return tf.strings.split(self.normalize_graph(texts))

    @property
    def _rules(self) -> tuple[tuple[str, str], ...]:
        return _rules(self.breaks, self.punctuation, self.emoji)


PLAIN = Spelling()


def spell(words: Iterable[str]) -> str:
    """The text of words as people write it: no blank before a comma, a new line for `BREAK`."""
    return _apply(_SPELLED, " ".join(words)).strip()


def spell_graph(texts: tf.Tensor) -> tf.Tensor:
    """`spell` as graph ops, of words joined by blanks: string tensor of any shape to one of the same shape."""
    import tensorflow as tf

    return tf.strings.strip(_apply_graph(_SPELLED, texts))


def _apply(rules: Iterable[tuple[str, str]], text: str) -> str:
    for pattern, replacement in rules:
        text = regex.sub(pattern, replacement, text)
    return text


def _apply_graph(rules: Iterable[tuple[str, str]], texts: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    for pattern, replacement in rules:
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return texts
