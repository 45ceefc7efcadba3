"""The model card of a pushed version: what it is for, what it learned from, how good it is and where it fails.

    >>> write("root/runs/latest", "root/serving/captioner/1700000000", config.card)

    ROOT/serving/captioner/<version>/README.md           with the header that Hugging Face's hub reads
    ROOT/serving/captioner/<version>/README.html         the same, to be looked at
    ROOT/serving/captioner/<version>/card/worst-1.jpg …   pictures that it captions worst

What model cards tell follows Mitchell et al., Model Cards for Model Reporting (arXiv 1810.03993); the header,
https://huggingface.co/docs/hub/model-cards. They are no part of the model: `memefly.json` does not list them.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import jinja2
import yaml
from pydantic import BaseModel, ConfigDict, Field

from memefly import storage
from memefly.errors import UsageError
from memefly.exported.manifest import read_manifest
from memefly.metrics.titles import TITLES
from memefly.report.report import GALLERY, SUMMARY
from memefly.storage import Place

CARD, PAGE, PICTURES = "README.md", "README.html", "card"
_WORST = 6
_TITLES = TITLES | {
    "distinct_share": "share of its captions that are different",
    "valid_share": "share of them that are well formed",
}
_RESULTS = ("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "chrf", "distinct_share", "valid_share")


class CardConfig(BaseModel):
    """What only people can say of a model. `licence` and `language`: identifiers that Hugging Face's hub knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field("Captioner", min_length=1)
    language: str = Field("en", description="of the captions, ISO 639-1")
    licence: str = Field("", description="of the model, such as apache-2.0")
    data_licence: str = Field("", description="under which the pictures and captions were had")
    data_name: str = Field("", description="what the data set is called")
    intended_use: str = (
        "Captions for pictures like those it learned from, looked at by people before they are published."
    )
    limits: str = (
        "It says what people wrote of pictures like these, right or wrong, with their jokes and their prejudices. It "
        "does not read text in pictures, and knows nobody in them. Nothing follows from it about persons."
    )


def write(run: str | Path, version: str | Place, said: CardConfig) -> Place:
    """Writes the card, of the run that pushed the version, and returns the Markdown's path. Raises `UsageError` where
    the run's folder has no summary, `ModelError` where the version is no model."""
    run, version = Path(run), storage.at(version)
    manifest = read_manifest(version)
    try:
        summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
        gallery = json.loads((run / GALLERY).read_text(encoding="utf-8")) if (run / GALLERY).is_file() else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"the run in {run} cannot be read ({error}); expected ROOT/runs/<run_id>") from None
    worst = _worst(gallery.get("pictures", []))
    (version / PICTURES).mkdir(exist_ok=True)
    for number, one in enumerate(worst, 1):
        one["file"] = f"{PICTURES}/worst-{number}.jpg"
        storage.replace(version / one["file"], base64.b64decode(one["image"]))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"md": escaped, "number": lambda value: f"{value:,}", "score": _score}
    header = yaml.safe_dump(_header(said, manifest, summary), sort_keys=False, allow_unicode=True)
    text = environment.get_template("card.md").render(
        header=header, said=said, model=manifest, run=summary, data=summary.get("data", {}), worst=worst,
        titles=_TITLES, results=_RESULTS, machine=_machine(),
        seconds={one["name"]: one["seconds"] for one in summary.get("components", [])},
    )  # fmt: skip
    storage.replace(version / CARD, text)
    storage.replace(version / PAGE, page(text))
    return version / CARD


def page(markdown: str) -> str:
    """A card as a page of its own, without the header."""
    from markdown_it import MarkdownIt

    title = next((line[2:] for line in markdown.splitlines() if line.startswith("# ")), "Model card")
    body = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("card.html").render(title=title, body=html)


def _header(said: CardConfig, manifest: dict, summary: dict) -> dict[str, Any]:
    """For Hugging Face's hub: metrics as `model-index` wants them."""
    name = said.data_name or "a data set of its owner's"
    metrics = [
        {
            "type": metric,
            "name": _TITLES.get(metric, metric),
            "value": round(summary["metrics"][metric], 4),
        }
        for metric in _RESULTS
        if isinstance(summary.get("metrics", {}).get(metric), (int, float))
    ]
    dataset = {"type": re.sub(r"\W+", "-", name.lower()).strip("-"), "name": name, "split": "eval"}
    result = {"task": {"type": "image-to-text"}, "dataset": dataset, "metrics": metrics}
    header: dict[str, Any] = {
        "language": [said.language],
        "library_name": "tensorflow",
        "pipeline_tag": "image-to-text",
    }
    if said.licence:
        header["license"] = said.licence
    header["tags"] = ["image-captioning", "memefly", manifest["config"]["network"]["kind"]]
    header["model-index"] = [{"name": said.title, "results": [result]}]
    return header


def _worst(pictures: list[dict]) -> list[dict]:
    """Those that the gate's CIDEr-D says least of, the worst first; a picture is told once."""
    known = {one["image_id"]: one for one in pictures if one.get("image") and one.get("cider") is not None}
    return sorted(known.values(), key=lambda one: one["cider"])[:_WORST]


def escaped(text: Any) -> str:
    """Words of people's, which Markdown and HTML are to take for nothing else."""
    line = " / ".join(str(text).split("\n")).replace("\r", " ")
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", line)


def _score(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else ""


def _machine() -> dict[str, Any]:
    """What there is to compute with, here."""
    return {"processors": os.cpu_count() or 1, "kind": platform.processor() or platform.machine()}
