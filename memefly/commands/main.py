"""The library's command line: all that needs no pipeline.

>>> main(["caption", "--model", "root/serving/captioner", "cat.jpg"])
"""

from __future__ import annotations

from collections.abc import Sequence

from memefly.commands import data, memes, models, parser, serving

FAMILIES = (data.add, models.add, memes.add, serving.add)


def main(argv: Sequence[str] | None = None) -> int:
    return parser.main(argv, FAMILIES)
