"""What a move of a label is about to do, on the disk before it does it: whoever comes after a kill can finish it, or
take it back.

    >>> journal = Journal("root/serving")
    >>> journal.begin(move, before)     # from here on the move can be taken back
    >>> journal.decide(after)           # from here on it is finished, whoever does it
    >>> journal.close()                 # it is done

Each of these is one rename.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from memefly import storage
from memefly.errors import PromotionError
from memefly.serving.moves import Move

JOURNAL = ".promotion.json"


class Journal:
    """`stage`: begun | decided | undone. `before` and `after`: what `models.config` held and is to hold."""

    move: Move
    stage: str
    before: str | None
    after: str | None

    def __init__(self, serving: str | Path):
        self.path = Path(serving) / JOURNAL

    def open(self) -> bool:
        """Whether a move was cut off; `move`, `stage`, `before` and `after` are then known."""
        try:
            said = json.loads(self.path.read_text(encoding="utf-8"))
            self.move = Move(**said["move"])
            self.stage, self.before, self.after = said["stage"], said["before"], said["after"]
        except FileNotFoundError:
            return False
        except (ValueError, TypeError, KeyError) as error:
            raise PromotionError(
                f"{self.path} is damaged ({error}), which holds a move that was cut off; look whether models.config "
                "and promotions.jsonl are as they should be, and remove it"
            ) from None
        return True

    def begin(self, move: Move, before: str | None) -> None:
        self.move, self.before, self.after = move, before, None
        self._stand("begun")

    def decide(self, after: str) -> None:
        self.after = after
        self._stand("decided")

    def undo(self) -> None:
        """It is to be taken back, whatever it was decided to be."""
        self._stand("undone")

    def close(self) -> None:
        self.path.unlink(missing_ok=True)

    def _stand(self, stage: str) -> None:
        self.stage = stage
        said = {"stage": stage, "move": asdict(self.move), "before": self.before, "after": self.after}
        storage.replace(self.path, json.dumps(said))
