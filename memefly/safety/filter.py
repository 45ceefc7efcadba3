"""The filter of texts: word lists, data of persons, and a scorer of one's own.

>>> safety = Safety(SafetyConfig(categories=["sexual"]))
>>> safety.judge("a dog in the park") is None
True
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from memefly.errors import ConfigError
from memefly.safety import personal
from memefly.safety.config import PERSONAL, SCORED, SafetyConfig


@dataclass(frozen=True)
class Verdict:
    """`what` says in words what was found, and never quotes it."""

    category: str
    what: str


class Safety:
    """Raises `ConfigError` where the scorer that is named is none."""

    def __init__(self, config: SafetyConfig):
        self.config = config
        self.lists = config.lists()
        self._personal = PERSONAL in config.categories
        self._score = _scorer(config.scorer) if config.scorer else None

    @property
    def digest(self) -> str:
        """Of the lists."""
        return self.lists.digest

    def judge(self, text: str) -> Verdict | None:
        """The first thing that speaks against a text; None where nothing does."""
        if found := self.lists.find(text):
            return Verdict(found[0].category, "a word or phrase of the list")
        if self._personal and (what := personal.find(text)):
            return Verdict(PERSONAL, what)
        if self._score is not None and self._score(text) >= self.config.threshold:
            return Verdict(SCORED, f"a score of {self.config.threshold:g} or more")
        return None


def _scorer(name: str) -> Callable[[str], float]:
    module, colon, function = name.partition(":")
    try:
        if not colon:
            raise ImportError("there is no colon in it")
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"safety.scorer: expected MODULE:FUNCTION that can be imported, got {name!r} ({error})"
        ) from None
    if not callable(found):
        raise ConfigError(f"safety.scorer: {name} is a {type(found).__name__}, and not a function of a text")
    return found
