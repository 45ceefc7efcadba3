"""Whether a meme's caption is one for its template, as far as its words show.

>>> TemplateClassifier({"grumpy-cat": [["no"]], "doge": [["much", "wow"]]}).guess(["such", "wow"])
'doge'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

Tokens = Sequence[str]
SMOOTHING = 0.1


class TemplateClassifier:
    """Multinomial naive Bayes over the words of captions that people wrote (McCallum and Nigam, 1998), each template as
    likely as its share of them."""

    def __init__(self, captions: Mapping[str, Sequence[Tokens]], smoothing: float = SMOOTHING):
        """Raises ValueError for fewer than two templates, or one without captions."""
        if len(captions) < 2 or not all(captions.values()):
            raise ValueError("a classifier of templates needs two of them at least, and captions of each")
        self.templates = sorted(captions)
        counts = [Counter(word for caption in captions[t] for word in caption) for t in self.templates]
        self._words = {word: i for i, word in enumerate(sorted(set().union(*counts)))}
        table = np.full((len(counts), len(self._words)), smoothing)
        for row, count in zip(table, counts):
            for word, times in count.items():
                row[self._words[word]] += times
        self._log_words = np.log(table / table.sum(axis=1, keepdims=True))  # (templates, words)
        sizes = np.array([len(captions[t]) for t in self.templates], np.float64)
        self._log_shares = np.log(sizes / sizes.sum())

    def guess(self, caption: Tokens) -> str:
        """The likeliest template. Words that it has not seen say nothing."""
        known = [self._words[word] for word in caption if word in self._words]
        return self.templates[int((self._log_shares + self._log_words[:, known].sum(axis=1)).argmax())]


def template_recall(classifier: TemplateClassifier, captions: Sequence[Tokens], templates: Sequence[str]) -> float:
    """The share of captions whose template the classifier guesses; 0 of none."""
    if len(captions) != len(templates):
        raise ValueError(f"{len(captions)} captions, but {len(templates)} templates")
    return sum(classifier.guess(c) == t for c, t in zip(captions, templates)) / max(1, len(captions))
