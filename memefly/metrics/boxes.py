"""Whether captions come in as many text boxes as their templates have.

>>> boxes = Boxes({"drake": [2, 2, 2, 1], "doge": [4, 5, 1, 4]})
>>> boxes.fit("drake", 3)
False

People do not always fill all boxes, or write in one what belongs in two: right is each number that one in `LEAST` of
the captions that people wrote on a template has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

LEAST = 0.1


class Boxes:
    def __init__(self, written: Mapping[str, Iterable[int]]):
        """By template, how many boxes each caption has. Raises ValueError for a template without captions."""
        self._right: dict[str, set[int]] = {}
        for template, numbers in written.items():
            counts = Counter(numbers)
            if not counts:
                raise ValueError(f"no captions of the template {template!r} to see its boxes by")
            self._right[template] = {n for n, times in counts.items() if times >= LEAST * counts.total()}

    def fit(self, template: str, boxes: int) -> bool:
        """Raises KeyError for a template that is not known."""
        return boxes in self._right[template]

    def share(self, said: Sequence[tuple[str, int]]) -> float:
        """Of captions (template, number of boxes), those whose number is right; 0 of none."""
        return sum(self.fit(template, boxes) for template, boxes in said) / max(1, len(said))
