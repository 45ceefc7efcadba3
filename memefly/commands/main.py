"""The library's command line: all that needs no pipeline.

>>> main(["caption", "--model", "root/serving/captioner", "cat.jpg"])
"""

from __future__ import annotations

from collections.abc import Sequence

from memefly.commands import data, memes, models, operations, parser, serving

FAMILIES = (data.add, models.add, memes.add, serving.add, operations.add)


def main(argv: Sequence[str] | None = None) -> int:
    return parser.main(argv, FAMILIES)
