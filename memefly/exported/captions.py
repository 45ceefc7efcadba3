"""What a model answered, read: its captions, without those that are not to be said.

    >>> read = reader(manifest)
    >>> read(out["captions"][0], out["scores"][0])       # [Caption("a cat on a mat", -0.41), …]

The search in the graph keeps from listed words and phrases already (`memefly.safety.constraint`). What only a whole
text shows, such as a telephone number of several words or what a scorer says, is looked for here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from memefly.safety import Safety, SafetyConfig

_NOTHING = -1e6  # scores below are of places that hold no caption


@dataclass(frozen=True)
class Caption:
    text: str  # with a line for each text box
    score: float

    @property
    def boxes(self) -> list[str]:
        return self.text.split("\n")


Reader = Callable[[Iterable[bytes], Iterable[float]], list[Caption]]


def reader(manifest: Mapping) -> Reader:
    """Of a picture's `captions` (K,) and `scores` (K,) those that are captions and may be said, best first; by the
    section `safety` of a model's `memefly.json`. Raises `ConfigError` where the scorer that it names cannot be imported
    here."""
    config = SafetyConfig(**(manifest["config"].get("safety") or {}))
    judge = Safety(config).judge if config.is_on else None

    def read(captions: Iterable[bytes], scores: Iterable[float]) -> list[Caption]:
        found = [Caption(c.decode("utf-8"), float(s)) for c, s in zip(captions, scores) if s > _NOTHING]
        return [caption for caption in found if judge is None or judge(caption.text) is None]

    return read
