"""A peer for captions of memes: a word 5-gram model of each template, interpolated with one of all.

    >>> peer = WordNgrams(by_template, held_back)
    >>> peer.bits(["one", "does", "not"], "boromir") / characters

Kneser-Ney smoothing (`memefly.metrics.kneser_ney`). Words that training has once are `<unk>` to the models; what one
costs beside that is its letters, by a letter 6-gram model of such words: so nothing is beyond it, and bits a character
compare with those of any other model. How much a template's own model counts is fitted on held-back captions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from memefly.metrics.kneser_ney import KneserNey

Tokens = Sequence[str]
_UNSEEN, _START, _END = "<unk>", "<s>", "</s>"
_ROUNDS = 20


class WordNgrams:
    def __init__(
        self,
        by_template: Mapping[str, Sequence[Tokens]],
        held_back: Mapping[str, Sequence[Tokens]],
        order: int = 5,
    ):
        counts = Counter(word for captions in by_template.values() for caption in captions for word in caption)
        self._order = order
        self._known = {word for word, n in counts.items() if n > 1}
        self._letters = KneserNey([list(word) for word, n in counts.items() if n == 1], 6)
        self._all = KneserNey([self._cut(c) for captions in by_template.values() for c in captions], order)
        words = self._known | {_UNSEEN}
        self._own = {
            t: KneserNey([self._cut(c) for c in captions], order, words) for t, captions in by_template.items()
        }
        self.share = self._fit(held_back)

    def _cut(self, caption: Tokens) -> list[str]:
        return [word if word in self._known else _UNSEEN for word in caption]

    def _both(self, caption: Tokens, template: str) -> list[tuple[float, float]]:
        """Of each word and of the end, its probability by the template's model and by that of all."""
        words = [*[_START] * (self._order - 1), *self._cut(caption), _END]
        places = range(self._order - 1, len(words))
        return [
            tuple(m.probability(words[i], words[i - self._order + 1 : i]) for m in (self._own[template], self._all))
            for i in places
        ]

    def _fit(self, held_back: Mapping[str, Sequence[Tokens]]) -> float:
        pairs = [p for t, captions in held_back.items() if t in self._own for c in captions for p in self._both(c, t)]
        share = 0.5
        for _ in range(_ROUNDS):
            share = sum(share * a / (share * a + (1 - share) * b) for a, b in pairs) / max(1, len(pairs))
        return share

    def bits(self, caption: Tokens, template: str | None) -> float:
        """What a caption costs; by the model of all alone where its template has none."""
        if template in self._own:
            told = [self.share * a + (1 - self.share) * b for a, b in self._both(caption, template)]
            found = -sum(map(math.log2, told))
        else:
            found = -self._all.log_prob(self._cut(caption)) / math.log(2)
        unseen = (word for word in caption if word not in self._known)
        return found - sum(self._letters.log_prob(list(word)) for word in unseen) / math.log(2)
