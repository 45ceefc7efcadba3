"""Whether a caption could be printed as it stands.

>>> well_formed("a dog runs through the".split())          # ends in the air
False
"""

from __future__ import annotations

from collections.abc import Sequence

Tokens = Sequence[str]

# Few captions end in these ("what are you looking at"), and many that were cut off. Words that often end one, such as
# "is", "what" and "up", are not here.
DANGLING = (
    *("a", "an", "the", "and", "or", "of", "with", "from", "into", "onto", "their", "his", "its", "my", "your"),
    *("while", "as", "at", "by", "for", "to", "than", "towards", "toward", "against", "between", "behind", "near"),
    *("through", "along", "across", "on", "in", "are", "very"),
)


def well_formed(caption: Tokens) -> bool:
    """A caption has a word, does not end in a dangling article or preposition, and says no three words twice, nor one
    word three times in a row."""
    trigrams = [tuple(caption[i : i + 3]) for i in range(len(caption) - 2)]
    stammers = any(len(set(trigram)) == 1 for trigram in trigrams)
    return bool(caption) and caption[-1] not in DANGLING and len(trigrams) == len(set(trigrams)) and not stammers


def valid_share(hypotheses: Sequence[Tokens]) -> float:
    """The share of captions that are well formed; 0 of none."""
    return sum(map(well_formed, hypotheses)) / max(1, len(hypotheses))
