"""Knobs of decoding on the command line: what commands share that have a model write captions."""

from __future__ import annotations

import argparse
import secrets
from typing import Any

from memefly.commands.parser import positive
from memefly.errors import UsageError


def add_knobs(parser: argparse.ArgumentParser, beam: str) -> None:
    """`beam` says what the command shows of it."""
    parser.add_argument("--beam", type=positive, metavar="K", help=beam)
    parser.add_argument(
        "--decode",
        action="append",
        default=[],
        metavar="KNOB=VALUE",
        help="another value than the model's own: temperature, top_k, top_p, min_p, typical_p, seed, candidates, mmi, "
        "repetition, difference, boxes, groups, diversity, min_length, max_length, length_penalty, block_ngram; may be "
        "repeated",
    )
    parser.add_argument("--begin", metavar="TEXT", help="what captions are to begin with; \\n where a text box ends")


def knobs_of(arguments) -> dict[str, Any]:
    """Raises `UsageError` for what is no number."""
    knobs: dict[str, Any] = dict(map(_knob, arguments.decode)) | ({"beam": arguments.beam} if arguments.beam else {})
    return knobs | ({"prefix": arguments.begin.replace("\\n", "\n")} if arguments.begin else {})


def _knob(argument: str) -> tuple[str, float]:
    name, _, value = argument.partition("=")
    try:
        return name, float(value) if "." in value or "e" in value else int(value)
    except ValueError:
        raise UsageError(f"--decode takes KNOB=NUMBER, such as temperature=0.8; got {argument!r}") from None


def drawn(manifest: dict, knobs: dict) -> dict[str, int]:
    """A seed, where a model draws its captions and none is given: others each time, and which can be said again.
    Models for LiteRT have no knobs, and draw the same ones."""
    temperature = knobs.get("temperature", manifest["config"]["decoding"].get("temperature", 0.0))
    draws = temperature > 0 and "seed" not in knobs and "signatures" in manifest
    return {"seed": secrets.randbelow(1_000_000)} if draws else {}
