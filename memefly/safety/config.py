"""What a filter of texts is told.

>>> SafetyConfig(categories=["hate", "sexual"], allow=["moby dick"], block=["rival brand"])
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from memefly.safety.words import WordLists

LISTED = ("hate", "sexual", "self_harm", "profanity")  # a word list each
PERSONAL, BLOCKED, SCORED = "personal", "blocked", "scored"
CATEGORIES = (*LISTED, PERSONAL)


class SafetyConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    categories: tuple[Literal["hate", "sexual", "self_harm", "profanity", "personal"], ...] = Field(
        (), description="what is kept out of training and of captions"
    )
    block: tuple[str, ...] = Field((), description="further words and phrases; * at the end of one: any ending")
    allow: tuple[str, ...] = Field((), description="words and phrases that are no offence here")
    scorer: str = Field(
        "", description="MODULE:FUNCTION, of a text to a number from 0 to 1; what scores at least `threshold` goes"
    )
    threshold: float = Field(0.5, gt=0, le=1)

    def lists(self) -> WordLists:
        """The words and phrases that are not to be said."""
        return WordLists.kept([name for name in LISTED if name in self.categories], self.block, self.allow)

    @property
    def is_on(self) -> bool:
        return bool(self.categories or self.block or self.scorer)
