"""What is done to a line of a caption: pure functions of text.

>>> without_addresses("look http://example.org/x?y=1 at this")
'look at this'
"""

from __future__ import annotations

import functools
import html
import unicodedata
from typing import Literal

import regex

# Bare names, as of a shop on a sign, are what somebody said. A full stop at the end is the sentence's.
_ADDRESS = regex.compile(
    r"""(?xi) (?<![\w@])
    (?: (?:https?|ftp):// [^\s<>"']+ | www\. [^\s<>"']+ \. [^\s<>"']+ | (?:[a-z0-9-]+\.)+ [a-z]{2,12} / \w [^\s<>"']* )
    (?<![.,;:!?)\]])"""
)
_TAG = regex.compile(
    r"(?i)</?(?:a|b|big|blockquote|br|center|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|pre|s|small|span|strong|sub|sup|table"
    r"|td|tr|tt|u|ul)(?:\s[^<>]*)?/?>"
)
# Joiners mean something between letters of scripts that join, and inside an emoji; all else of format is for machines.
_JOINING = (
    r"\p{Arabic}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}\p{Telugu}\p{Kannada}\p{Malayalam}"
    r"\p{Sinhala}"
)
_JOINER = regex.compile(
    rf"(?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])"
    r"|(?<=[\p{Extended_Pictographic}\ufe0f\U0001f3fb-\U0001f3ff])\u200d(?=\p{Extended_Pictographic})"
    "|(?<=\U0001f3f4)[\U000e0020-\U000e007e]+\U000e007f"  # flags of England, Scotland and Wales
)
_FORMAT = regex.compile(r"[\p{Cc}\p{Cf}\p{Cn}\p{Co}\u2028\u2029\u115f\u1160\u3164\uffa0]+")
_BLANKS = regex.compile(r"[\s\u00a0]+")


def mended(text: str) -> str:
    """Without mojibake, UTF-8 that was read as something else (ftfy, Speer 2019, doi 10.5281/zenodo.2591652)."""
    if text.isascii():  # which is the same in all that it could have been read as
        return text
    import ftfy

    return ftfy.fix_text(text, _ftfy())


@functools.cache
def _ftfy():
    import ftfy

    # Only what was broken on the way: quotes, widths of letters and entities are what somebody wrote.
    return ftfy.TextFixerConfig(
        unescape_html=False, uncurl_quotes=False, fix_character_width=False, fix_line_breaks=False, normalization=None,
        remove_terminal_escapes=False, remove_control_chars=False, explain=False,
    )  # fmt: skip


def without_html(text: str) -> str:
    """Entities as their characters, those of entities too, and no tags of text."""
    if "&" not in text and "<" not in text:
        return text
    for _ in range(3):  # &amp;amp;lt;
        unescaped = html.unescape(text)
        if unescaped == text:
            break
        text = unescaped
    return _TAG.sub(" ", text)


def without_controls(text: str) -> str:
    """No characters that nobody sees: controls, zero widths, directions, private use; blanks are single ones."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    kept: list[str] = []
    at = 0
    for joiner in _JOINER.finditer(text):
        kept += [_FORMAT.sub(_blank, text[at : joiner.start()]), joiner[0]]
        at = joiner.end()
    kept.append(_FORMAT.sub(_blank, text[at:]))
    return _BLANKS.sub(" ", "".join(kept)).strip()


def _blank(found: regex.Match) -> str:
    """A blank for what parted words, nothing for what stood inside one."""
    return " " if regex.search(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]", found[0]) else ""


def normalized(text: str, form: Literal["NFC", "NFKC"]) -> str:
    """In a Unicode normalisation form (UAX 15): a letter and its accent are one character, or two, alike everywhere."""
    return unicodedata.normalize(form, text)


def without_addresses(text: str) -> str:
    """No addresses of the web."""
    if "/" not in text and "www." not in text.lower():
        return text
    return _BLANKS.sub(" ", _ADDRESS.sub(" ", text)).strip()


@functools.cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)


def language(text: str) -> tuple[str, float]:
    """The likeliest language (ISO 639-1) of a text and how likely it is (py3langid; Lui and Baldwin, ACL 2012)."""
    name, probability = _identifier().classify(text.lower())
    return str(name), float(probability)
