"""The HTML report of a run: one file, no network.

>>> write(Path("root/runs/latest"))          # reads summary.json and gallery.json, writes report.html
"""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from memefly.errors import UsageError

SUMMARY, GALLERY, HISTORY, REPORT = "summary.json", "gallery.json", "history.json", "report.html"
_METRICS = {
    "bleu1": "BLEU-1", "bleu2": "BLEU-2", "bleu3": "BLEU-3", "bleu4": "BLEU-4",
    "constant_bleu4": "BLEU-4 of the best constant caption", "bleu4_gain": "gain over it",
    "cider": "CIDEr-D", "rouge_l": "ROUGE-L", "chrf": "chrF",
    "distinct_captions": "distinct captions", "distinct_1": "distinct-1", "distinct_2": "distinct-2",
    "self_bleu4": "self-BLEU-4", "vocabulary": "words used", "length": "words a caption",
}  # fmt: skip


def write(run: Path) -> Path:
    """Writes `report.html` into the folder of a run. Raises `UsageError` where that holds no run."""
    try:
        summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{run} holds no run: {SUMMARY} is missing; expected ROOT/runs/<run_id>") from None
    gallery = _optional(run / GALLERY, {"constant_caption": None, "pictures": []})
    for picture in gallery["pictures"]:
        picture["type"] = _media_type(picture["image"])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["metric"] = lambda v: f"{v:.0f}" if v >= 2 and v == int(v) else f"{v:.4f}"
    distinct = len({p["captions"][0]["text"] for p in gallery["pictures"]})
    html = environment.get_template("report.html").render(
        run=summary, gallery=gallery, history=_optional(run / HISTORY, []), names=_METRICS, distinct=distinct
    )
    path = run / REPORT
    path.write_text(html, encoding="utf-8")
    return path


def _optional(path: Path, default):
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def _media_type(base64: str) -> str:
    for start, kind in (("/9j/", "jpeg"), ("iVBOR", "png"), ("R0lG", "gif")):
        if base64.startswith(start):
            return f"image/{kind}"
    return "image/bmp"
