"""A smaller form of an exported model, kept only if it captions about as well.

    >>> reduce("root/serving/captioner", "small", precision="int8", data="data/flickr8k")

- `bf16`: a SavedModel as any other, which TensorFlow Serving takes as it is. The encoder's weights and convolutions are
  in bfloat16 (`memefly.encoders.inference_graph`): about half the size. Faster on processors that compute in it
  (avx512_bf16, amx_bf16), slower on all others.
- `int8`: two files for LiteRT (`memefly.exported.lite`), a quarter of the size, which `memefly serve` and `memefly
  caption` read and TensorFlow Serving does not.
- `fp32`: the same two files in float32; no smaller than what they are made of, but faster, and they say the same.

Either is compared with the model that it was made of on the eval split, which neither was trained or calibrated on, and
is not kept if it loses more BLEU-4 than the tolerance.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from memefly import images, storage
from memefly.datasets import records
from memefly.datasets.splits import Splitting
from memefly.decoding_config import DecodingConfig
from memefly.encoders.inference_graph import InferenceGraph
from memefly.errors import DataError, ModelError, PictureError
from memefly.exported import lite, loading
from memefly.exported.captioner import Captioner, export
from memefly.exported.lite import LiteModel
from memefly.exported.manifest import MODEL_NAME, manifest_of_smaller, read_manifest, versions, write_manifest
from memefly.exported.parts import load_parts
from memefly.exported.saved_model import ExportedModel
from memefly.metrics import score
from memefly.spelling import Spelling
from memefly.storage import Place


@dataclass(frozen=True)
class Verdict:
    """What the small model costs: corpus BLEU-4 (a fraction) of both on the same pictures, and whether that is let
    through; sizes in bytes."""

    pictures: int
    bleu4: float
    small_bleu4: float
    tolerance: float
    bytes: int
    bytes_before: int

    @property
    def blessed(self) -> bool:
        return self.small_bleu4 >= self.bleu4 - self.tolerance


def reduce(
    model: str | Place,
    out: str | Path,
    precision: Literal["bf16", "int8", "fp32"],
    data: str | Place,
    *,
    calibration: int = 200,
    pictures: int | None = None,
    tolerance: float = 0.003,
    on_progress: Callable[[str], None] = lambda message: None,
    on_compared: Callable[[int, int], None] = lambda pictures, of: None,
) -> tuple[Verdict, Path | None]:
    """Writes the smaller form of `model` to a version folder in `out`; None in its place if it was not good enough.

    `data`: the canonical data set of the model: `calibration` pictures of train give int8 its ranges, `pictures` of
    eval (None: all) judge. The version keeps its number; where `out` is the folder of versions itself, it gets the
    next, as another version to promote. Raises `ModelError` or `DataError`, and leaves nothing half written.
    """
    full, data, out = loading.load(model), storage.at(data), Path(out)
    if isinstance(full, LiteModel) or full.manifest.get("precision"):
        raise ModelError(f"{full.folder} is a smaller form itself; give the model that it was made of")
    version = _version(full)
    if out.resolve() == full.folder.resolve().parent:
        if precision != "bf16":
            raise ModelError(
                f"{out} is for TensorFlow Serving, which cannot load {precision}; export it to a folder elsewhere"
            )
        version = int(versions(out)[0].name) + 1
    out = out / str(version)
    if out.exists():
        raise ModelError(f"{out} is there already; remove it, or export elsewhere")
    train, judges = _pictures(full, data)
    partial = out.with_name(f".{out.name}.judged")  # nobody finds it under its name before it is judged
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if precision == "bf16":
            on_progress("encoder: to bfloat16")
            _to_bfloat16(full, partial)
        else:
            ranges = _read(data, train, calibration)[0] if precision == "int8" else ()
            lite.convert(full, partial, ranges, on_progress, precision)
        judging, references = _read(data, judges, pictures)
        verdict = _judge(full, loading.load(partial), judging, references, tolerance, on_compared)
        if not verdict.blessed:
            return verdict, None
        manifest = read_manifest(partial)
        # As good as the model it was made of, so let through where that was.
        compared = {**asdict(verdict), "blessed": True}
        manifest |= {"version": version, "metrics": {"compared": compared}}
        manifest |= {"blessed": bool(full.manifest.get("blessed"))}
        write_manifest(partial, manifest)
        os.replace(partial, out)
        return verdict, out
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _version(model: ExportedModel) -> int:
    version = model.manifest.get("version", model.folder.name)
    try:
        return int(version)
    except ValueError:
        raise ModelError(
            f"{model.folder} has no version: nothing pushed it, and its folder's name is no number. Give a pushed "
            f"model, such as ROOT/serving/{MODEL_NAME}/1700000000, or name the folder by the number that the "
            "version is to have"
        ) from None


def _to_bfloat16(model: ExportedModel, folder: Path) -> None:
    parts = load_parts(model.folder)
    small = Captioner(
        InferenceGraph(model.encode, "bfloat16"),
        parts.standardizer,
        parts.network,
        next((model.folder / "assets").iterdir()),
        DecodingConfig(**model.manifest["config"]["decoding"]),
        parts.blocked,
        Spelling.of_text(model.manifest["config"].get("text", {})),
    )
    export(small, folder, manifest_of_smaller(model.manifest, "bf16"))


def _pictures(model: ExportedModel, data: Place) -> tuple[list[records.Record], list[records.Record]]:
    """What the model was trained on, in an order of chance, and what judges it."""
    splitting = Splitting.of_model(model.manifest["config"])
    by_split: dict[str, list[records.Record]] = {"train": [], "eval": []}
    for split, record in splitting.of(data, by_split):
        by_split[split].append(record)
    if not all(by_split.values()):
        found = {split: len(found) for split, found in by_split.items()}
        raise DataError(f"{data}: expected pictures to calibrate with and to compare on, found {found}")
    random.Random(0).shuffle(by_split["train"])
    return by_split["train"], by_split["eval"]


def _read(data: Place, wanted: Sequence[records.Record], most: int | None) -> tuple[list[bytes], list[tuple[str, ...]]]:
    pictures, captions = [], []
    for record in wanted:
        with contextlib.suppress(PictureError):  # quarantined by the pipeline too
            pictures.append(images.read(data / record.image).data)
            captions.append(record.captions)
        if len(pictures) == most:
            break
    return pictures, captions


def _judge(
    model: ExportedModel,
    small: ExportedModel | LiteModel,
    pictures: Sequence[bytes],
    references: Sequence[Sequence[str]],
    tolerance: float,
    on_compared: Callable[[int, int], None] = lambda pictures, of: None,
) -> Verdict:
    """Both models caption the pictures, which neither was trained on; the small one may lose `tolerance` of BLEU-4."""
    said: list[list[str]] = [[], []]
    for start in range(0, len(pictures), 16):
        batch = pictures[start : start + 16]
        for captions, one in zip(said, (model, small)):
            captions += [row[0].text if row else "" for row in one.caption(batch)]
        on_compared(len(batch), len(pictures))
    bleu4, small_bleu4 = (score(references, captions)["bleu4"] for captions in said)
    size, before = (sum(p.stat().st_size for p in one.folder.rglob("*") if p.is_file()) for one in (small, model))
    return Verdict(len(pictures), bleu4, small_bleu4, tolerance, size, before)
