"""Memes beside a peer's rule of sizing: how much of its box a text fills, how small it gets, what is clipped, time.

    python -m benchmarks.rendering --data ../shared/data/memes/memes.json --captions 1000

The peer is the rule of memegen (jacebrowning/memegen, app/utils/images.py), made anew here: a text stands in one to
three lines, broken at the blanks nearest to its halves or thirds in characters; the size is tried from a ninth of the
picture's height down to 7 pixels, and what does not fit then sticks out. Both have the same texts, the same two boxes
(the whole width, a fifth of the height, above and below), the same font and the same picture; both draw on it and write
a JPEG of 600 x 600. Times are a processor's, of both in turns in this process; `apart` is ours as memefly makes memes,
in a process apart.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from memefly.memes import fonts, parting, render
from memefly.memes.template import Box

SIDE = 600
BOXES = (
    Box(x=0, y=0, width=1, height=0.2, anchor="top"),
    Box(x=0, y=0.8, width=1, height=0.2, anchor="bottom"),
)
ANTON = fonts.FOLDER / "anton" / "anton-latin-400-normal.ttf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="memes.json, pictures beside it")
    parser.add_argument("--captions", type=int, default=1000)
    arguments = parser.parse_args()
    templates = json.loads(arguments.data.read_text(encoding="utf-8"))
    pairs = [(one["meme_url"], caption) for one in templates for caption in one["meme_text"]]
    random.Random(0).shuffle(pairs)
    rows: dict[str, list] = {"ours": [], "peer": []}
    seconds: dict[str, list[float]] = {"ours": [], "peer": [], "apart": []}
    for url, caption in pairs[: arguments.captions]:
        texts = [text.upper() for text in parting.part(caption, 2)]
        picture = (arguments.data.parent / url).read_bytes()
        for name, call in (("ours", _ours), ("peer", _peer), ("apart", _apart)):
            began = time.perf_counter()
            told = call(picture, texts)
            seconds[name].append(time.perf_counter() - began)
            if name in rows:
                rows[name] += told
    print(f"{arguments.captions} captions, {len(rows['ours'])} texts in boxes of {SIDE} x {SIDE // 5}")
    for name, told in rows.items():
        filled, sizes, clipped, shortened = zip(*told)
        print(
            f"{name}: filled {statistics.mean(filled):.1%} (median {statistics.median(filled):.1%}); "
            f"smallest size {min(sizes)}, median {statistics.median(sizes):g}; clipped {statistics.mean(clipped):.2%}; "
            f"shortened {statistics.mean(shortened):.2%}"
        )
    for name, times in seconds.items():
        quantiles = statistics.quantiles(times, n=20)
        print(f"{name}: median {1000 * statistics.median(times):.1f} ms, p95 {1000 * quantiles[-1]:.1f} ms a meme")


def _ours(picture: bytes, texts: list[str]) -> list[tuple[float, int, bool, bool]]:
    said, _ = render.render_apart(
        picture, texts, [box.model_dump() for box in BOXES], "jpeg", SIDE, False, 88, max_pixels=10_000_000
    )
    return [(one["filled"], one["size"], False, one["shortened"]) for one in said["written"] if one["size"]]


def _apart(picture: bytes, texts: list[str]) -> None:
    render.render(picture, texts, BOXES, format="jpeg", size=SIDE)


# --- the peer ---------------------------------------------------------------------------------------------------------


def _peer(picture: bytes, texts: list[str]) -> list[tuple[float, int, bool, bool]]:
    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    told = []
    for text, box in zip(texts, BOXES):
        if not text:
            continue
        width, height = SIDE, round(box.height * SIDE)
        lines, font, _ = _set(text, width, height)
        stroke = _stroke(font)
        layer = Image.new("RGBA", (width, height))
        draw = ImageDraw.Draw(layer)
        at = (width / 2, height / 2)
        how = {"font": font, "anchor": "mm", "align": "center", "spacing": font.size * 0.1, "stroke_width": stroke}
        left, top, right, bottom = draw.multiline_textbbox(at, lines, **how)
        draw.multiline_text(at, lines, fill="white", stroke_fill="black", **how)
        image.paste(layer, (0, round(box.y * SIDE)), layer)
        clipped = left < 0 or top < 0 or right > width or bottom > height
        shown = max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(bottom, height) - max(top, 0))
        told.append((shown / (width * height), round(font.size), clipped, False))
    image.save(io.BytesIO(), format="JPEG", quality=88)
    return told


def _set(text: str, width: int, height: int):
    """The lines, the font and the size of them that the rule takes."""
    best = None
    for count in (1, 2, 3):
        lines = _broken(text, count)
        font, size = _largest(lines, width, height)
        if best is None or (font.size > best[1].size and size[0] >= 0.6 * width):
            best = lines, font, size
    return best


def _broken(text: str, count: int) -> str:
    """At the blanks nearest to equal parts, by counting characters."""
    for part in range(1, count):
        middle = part * len(text) // count
        blanks = [i for i, c in enumerate(text) if c == " "]
        if blanks:
            nearest = min(blanks, key=lambda i: abs(i - middle))
            text = text[:nearest] + "\n" + text[nearest + 1 :]
    return text


def _largest(lines: str, width: int, height: int):
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    for size in range(SIDE // 9, 6, -1):
        font = ImageFont.truetype(str(ANTON), size)
        left, top, right, bottom = draw.multiline_textbbox(
            (0, 0), lines, font=font, spacing=size * 0.1, stroke_width=_stroke(font)
        )
        if right - left <= width * 34 / 35 and bottom - top <= height * 0.9:
            break
    return font, (right - left, bottom - top)


def _stroke(font: ImageFont.FreeTypeFont) -> int:
    return min(3, max(1, round(font.size) // 12))


if __name__ == "__main__":
    main()
