"""What the report and W&B show of the eval split: pictures, what was said of them, how good it was, and where the model
looked.

    >>> scored = score(said, training)                       # every picture
    >>> shown = choose(scored, 60)                           # the best, the worst, the most changed, and others
    >>> gallery = build(model, shown, pictures, features)    # fit for JSON
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from memefly import text
from memefly.exported.saved_model import ExportedModel
from memefly.metrics import NoveltyIndex
from memefly.metrics.cider import CiderScorer
from memefly.metrics.rouge import score as rouge_l

THUMBNAIL = 320  # pixels of the longer side
TAGS = ("best", "worst", "better", "worse")


@dataclass
class Scored:
    """A picture of eval. `live` is what the live model said of it, where there is one."""

    image_id: str
    source: str
    group: str
    references: list[str]
    caption: str
    cider: float
    rouge_l: float
    live: str | None = None
    live_cider: float | None = None
    nearest: str | None = None  # training caption
    similarity: float | None = None  # to it, 0 to 1
    copied: bool | None = None
    tags: list[str] = field(default_factory=list)

    @property
    def change(self) -> float:
        return 0.0 if self.live_cider is None else self.cider - self.live_cider


def score(said: Sequence[Mapping], training: NoveltyIndex | None = None) -> list[Scored]:
    """CIDEr-D and ROUGE-L of every caption. `said`: {image_id, source, group, references, caption} and, where there is
    a live model, `live` of every picture."""
    references = [[text.tokenize(caption) for caption in one["references"]] for one in said]
    scorer = CiderScorer(references)
    scored = []
    for i, one in enumerate(said):
        words, live = text.tokenize(one["caption"]), one.get("live")
        picture = Scored(
            one["image_id"], one["source"], one["group"], one["references"], one["caption"],
            scorer.score(i, words), rouge_l(references[i], words), live,
        )  # fmt: skip
        if live is not None:
            picture.live_cider = scorer.score(i, text.tokenize(live))
        scored.append(picture)
    if training is not None:
        novelty = training.of([text.tokenize(one["caption"]) for one in said])
        for picture, nearest, similarity, copied in zip(scored, novelty.nearest, novelty.similarity, novelty.copied):
            picture.nearest, picture.similarity, picture.copied = nearest, float(similarity), bool(copied)
    return scored


def choose(scored: Sequence[Scored], pictures: int) -> list[Scored]:
    """So many of them: an eighth each the best and the worst, as many that gained and lost most beside the live model,
    and the rest in the order they come. The tags say why a picture is there."""
    part = max(1, pictures // 8)
    ranked = {
        "best": sorted(scored, key=lambda s: -s.cider),
        "worst": sorted(scored, key=lambda s: s.cider),
        "better": sorted((s for s in scored if s.change > 0), key=lambda s: -s.change),
        "worse": sorted((s for s in scored if s.change < 0), key=lambda s: s.change),
    }
    chosen: dict[str, Scored] = {}
    for tag in TAGS:
        for picture in ranked[tag][:part]:
            picture.tags.append(tag)
            if len(chosen) < pictures:
                chosen[picture.image_id] = picture
    for picture in scored:
        if len(chosen) >= pictures:
            break
        chosen.setdefault(picture.image_id, picture)
    return list(chosen.values())


def build(
    model: ExportedModel,
    shown: Sequence[Scored],
    pictures: Mapping[str, bytes],
    features: Mapping[str, np.ndarray] | None = None,
    batch_size: int = 8,
) -> list[dict]:
    """What `shown` tells, for JSON; `pictures` by image_id, fit for the graph; `features` by image_id, (h, w, D).

    Each gains `image` (base64 of a JPEG of at most `THUMBNAIL` pixels a side), `captions` (all that the search kept,
    with scores), `words`, and `attention`: for each word base64 of uint8 (h, w), 255 where the model looked most; None
    for networks that do not look around. With features, `place`: (x, y) in 0 to 1 by `project`."""
    looks = model.manifest["config"]["network"]["kind"] == "attention"
    places = project([features[one.image_id] for one in shown]) if features else None
    found: list[dict] = []
    for start in range(0, len(shown), batch_size):
        batch = shown[start : start + batch_size]
        data = [pictures[one.image_id] for one in batch]
        for one, captions, (words, alphas) in zip(batch, model.caption(data), model.explain(data)):
            h, w = alphas.shape[1:]
            peaks = alphas.max(axis=(1, 2), keepdims=True)
            maps = np.round(255 * alphas / np.maximum(peaks, 1e-9)).astype(np.uint8)
            found.append(
                {
                    **vars(one),
                    "change": one.change,
                    "image": base64.b64encode(thumbnail(pictures[one.image_id])).decode(),
                    "captions": [{"text": c.text, "score": c.score} for c in captions],
                    "words": words,
                    "attention": [base64.b64encode(m.tobytes()).decode() for m in maps] if looks else None,
                    "grid": [h, w],
                }
            )
    for told, place in zip(found, places if places is not None else []):
        told["place"] = [round(float(x), 4) for x in place]
    return found


def thumbnail(data: bytes, side: int = THUMBNAIL) -> bytes:
    """A JPEG of at most `side` pixels a side, of the first frame."""
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=82, optimize=True)
    return out.getvalue()


def overlay(picture: Image.Image, alphas: np.ndarray) -> Image.Image:
    """An RGB picture, light where the model looked: `alphas` (h, w), of any scale and type."""
    alphas = alphas.astype(np.float32)
    mask = np.round(255 * alphas / max(float(alphas.max()), 1e-9)).astype(np.uint8)
    light = Image.fromarray(mask).resize(picture.size, Image.Resampling.BICUBIC)
    return Image.composite(picture, picture.point(lambda value: value // 4), light)


def project(features: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures on a plane: the two principal components of the mean features (h, w, D) of each, scaled to 0 to 1;
    float64 (N, 2)."""
    means = np.stack([f.astype(np.float32).reshape(-1, f.shape[-1]).mean(axis=0) for f in features])
    centred = means - means.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(means), 2))
    plane[:, : min(2, len(s))] = (u * s)[:, :2]
    signs = np.sign(plane[np.abs(plane).argmax(axis=0), [0, 1]])  # a component's sign is arbitrary
    plane *= np.where(signs == 0, 1, signs)
    low, high = plane.min(axis=0), plane.max(axis=0)
    return (plane - low) / np.where(high > low, high - low, 1)
