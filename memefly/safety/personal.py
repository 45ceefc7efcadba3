"""Data of persons: ways to reach somebody, and names beside them.

>>> find("mail Jane Doe at jane.doe@example.org")
'a name and an e-mail address'
"""

from __future__ import annotations

import regex

_MAIL = regex.compile(
    r"(?i)(?<![\w.+-])[\w.+-]{1,64}@(?:[a-z0-9-]+\.)+[a-z]{2,12}\b"
    r"|(?<![\w.+-])[\w.+-]{1,64}\s?[(\[]\s?at\s?[)\]]\s?[a-z0-9-]+\s?(?:\.|[(\[]\s?dot\s?[)\]])\s?[a-z]{2,12}\b"
    r"|(?<![\w.+-])[\w.+-]{2,64}\s+at\s+[a-z0-9-]+\s+dot\s+(?:com|net|org|edu|co|io)\b"
)
_ADDRESS = regex.compile(r"(?i)\b(?:https?://|www\.)\S+\.\S+|(?<!\w)(?:[a-z0-9-]+\.)+[a-z]{2,12}/\w\S*")
_DIGITS = regex.compile(r"\d(?:\D{0,3}\d){6,}")
_SHAPED = regex.compile(r"(?<!\d)\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}(?!\d)")  # valid or not, it is meant as one
_NAME = regex.compile(r"\b\p{Lu}\p{Ll}+(?:\s+(?:\p{Lu}\.|\p{Lu}\p{Ll}+)){1,2}\b")
_NEAR = 60  # characters between a name and what reaches it
_REGIONS = ("US", "GB")  # whose numbers may come without a code of their country


def find(text: str) -> str:
    """What of persons stands in a text, in a few words; nothing where nothing does."""
    for pattern, what in ((_MAIL, "an e-mail address"), (_ADDRESS, "a web address")):
        if match := pattern.search(text):
            return _with_name(text, match.start(), match.end(), what)
    if not _DIGITS.search(text):
        return ""
    import phonenumbers

    for region in _REGIONS:
        for found in phonenumbers.PhoneNumberMatcher(text, region, phonenumbers.Leniency.VALID):
            return _with_name(text, found.start, found.end, "a phone number")
    if shaped := _SHAPED.search(text):
        return _with_name(text, shaped.start(), shaped.end(), "a phone number")
    return ""


def _with_name(text: str, start: int, end: int, what: str) -> str:
    around = text[max(0, start - _NEAR) : start] + "\n" + text[end : end + _NEAR]
    return f"a name and {what}" if _NAME.search(around) else what
