"""Which template a caption sounds like: of memes, whether a model knows whose joke it tells.

>>> confusion(["one does not simply walk"], ["boromir"], [["one does not simply …"], …], most=30)
[('boromir', 'boromir', 1)]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from memefly import text
from memefly.metrics.templates import TemplateClassifier


def confusion(
    captions: Sequence[str], groups: Sequence[str], references: Sequence[Sequence[str]], most: int
) -> list[tuple[str, str, int]]:
    """Counts of (template, the one that the caption sounds like), the commonest templates first; of N pictures their
    caption, template and what people wrote of them. At most `most` templates are told apart, those with most pictures;
    pictures of others, and such as belong to none, do not count. Empty where that leaves fewer than two.

    What a caption sounds like is `TemplateClassifier`'s guess, taught by what people wrote.
    """
    sizes = Counter(group for group in groups if group)
    names = sorted(sizes, key=lambda name: (-sizes[name], name))[:most]
    if len(names) < 2:
        return []
    written: dict[str, list[list[str]]] = {name: [] for name in names}
    for group, said in zip(groups, references):
        if group in written:
            written[group] += map(text.tokenize, said)
    guess = TemplateClassifier(written).guess
    mine = [(group, text.tokenize(caption)) for caption, group in zip(captions, groups) if group in written]
    counts = Counter((group, guess(words)) for group, words in mine)
    rank = {name: i for i, name in enumerate(names)}
    return [(*pair, counts[pair]) for pair in sorted(counts, key=lambda pair: (rank[pair[0]], rank[pair[1]]))]
