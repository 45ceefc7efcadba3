"""Tracking's executor."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.caption_metrics import evaluation as evaluations
from components.caption_metrics import training
from components.caption_metrics.names import BASELINE
from components.image_features import artifact
from memefly import storage, text, textfile, tracking
from memefly.datasets.examples import read, strings
from memefly.encoders.feature_store import FeatureStore
from memefly.errors import FeaturesError
from memefly.exported.manifest import newest_version
from memefly.exported.saved_model import ExportedModel
from memefly.metrics import best_constant_caption
from memefly.metrics.confusion import confusion
from memefly.report import gallery

GALLERY = "gallery.json"


class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_uri(input_dict["evaluation"])
        folder = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        model = ExportedModel(newest_version(folder))

        said = evaluations.read_captions(evaluation)
        scored = gallery.score(said, training.read(f"{evaluation}/{training.FILE}").novelty)
        shown = gallery.choose(scored, exec_properties["pictures"])
        wanted = {one.image_id for one in shown}
        pictures = {i: f["image"].bytes_list.value[0] for i, f in _read(input_dict["examples"], wanted)}
        told = artifact.read(artifact_utils.get_single_uri(input_dict["features"]))
        features = _features(told.store(exec_properties["store"]), wanted)
        built = gallery.build(model, shown, pictures, features)
        references = [[text.tokenize(caption) for caption in one["references"]] for one in said]
        words = [text.tokenize(one["caption"]) for one in said]
        constant, constant_bleu4 = best_constant_caption(references, words)

        out = storage.at(artifact_utils.get_single_uri(output_dict["gallery"]))
        out.mkdir(parents=True, exist_ok=True)
        content = {"constant_caption": constant, "constant_bleu4": constant_bleu4, "pictures": built}
        (out / GALLERY).write_text(textfile.to_json(content), encoding="utf-8")

        with tracking.Run(exec_properties["root"], job_type="evaluate", config=_lineage(input_dict, model)) as run:
            run.summarize({f"eval/{k}": v for k, v in evaluations.read_metrics(evaluation).items()})
            _log_tables(run, evaluation, built, features)
            confused = confusion(
                [one["caption"] for one in said], [one["group"] for one in said],
                [one["references"] for one in said], exec_properties["groups"],
            )  # fmt: skip
            if confused:
                run.log_table("eval/templates", ["template", "sounds like", "captions"], confused)


def _read(examples: list, wanted: Container[str]) -> Iterator[tuple[str, Mapping[str, tf.train.Feature]]]:
    """Of the pictures `wanted` of eval: image_id and features of the Example."""
    for feature in read(artifact_utils.get_split_uri(examples, "eval")):
        (image_id,) = strings(feature["image_id"])
        if image_id in wanted:
            yield image_id, feature


def _features(store: FeatureStore, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    found = {}
    for image_id in wanted:
        features = store.get(image_id)
        if features is None:
            raise FeaturesError(
                f"the features of picture {image_id} are gone from {store.folder}, or damaged; run the whole pipeline "
                "again: ImageFeatures encodes what is missing",
            )
        found[image_id] = features
    return found


def _lineage(input_dict, model) -> dict:
    pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
    blessing = artifact_utils.get_single_instance(input_dict["model_blessing"])
    return {
        "model_digest": model.manifest["digest"],
        "encoder": model.manifest["encoder"],
        "git": model.manifest["git"],
        "pushed_version": pushed.get_string_custom_property("pushed_version") or None,
        "blessed": blessing.get_int_custom_property("blessed") == 1,
        "gate": blessing.get_string_custom_property("reason"),
        "artifacts": {key: [artifact.uri for artifact in artifacts] for key, artifacts in sorted(input_dict.items())},
    }


def _log_tables(run: tracking.Run, evaluation: str, built: Sequence[dict], features) -> None:
    metrics, live = evaluations.read_metrics(evaluation), evaluations.read_metrics(evaluation, BASELINE)
    intervals, changes = evaluations.read_intervals(evaluation), evaluations.read_changes(evaluation)
    run.log_table(
        "eval/metrics",
        ["metric", "value", "low", "high", "live", "change", "change_low", "change_high"],
        [
            [name, value, *intervals.get(name, [None, None]), live.get(name)]
            + [changes.get(name, {}).get(part) for part in ("value", "low", "high")]
            for name, value in metrics.items()
        ],
    )
    decisions = [dataclasses.asdict(decision) for decision in evaluations.read_decisions(evaluation)]
    columns = ["rule", "slice", "metric", "value", "threshold", "baseline", "passed", "reason"]
    run.log_table("eval/gate", columns, [[decision[column] for column in columns] for decision in decisions])
    scores = ["bleu4", "cider", "rouge_l", "distinct_share"]
    run.log_table(
        "eval/slices",
        ["by", "value", "pictures", *scores, *(f"live_{score}" for score in scores)],
        [
            [one["by"], one["value"], one["pictures"], *(one["metrics"].get(score) for score in scores)]
            + [(one["baseline"] or {}).get(score) for score in scores]
            for one in evaluations.read_slices(evaluation)
        ],
    )
    columns = ["caption", "live", "cider", "live_cider", "rouge_l", "nearest", "copied", "group", "source"]
    run.log_table(
        "eval/pictures",
        ["picture", "attention", "references", *columns],
        [
            [base64.b64decode(one["image"]), _strip(one), "\n".join(one["references"])]
            + [one[column] for column in columns]
            for one in built
        ],
    )
    means = {i: f.astype(np.float32).mean(axis=(0, 1)).tolist() for i, f in features.items()}
    run.log_table(
        "eval/projection",
        ["picture", "source", "caption", "group", "x", "y", "features"],
        [
            [
                base64.b64decode(one["image"]),
                *(one[key] for key in ("source", "caption", "group")),
                *one["place"],
                means[one["image_id"]],
            ]
            for one in built
        ],
    )


def _strip(one: dict, side: int = 120) -> Image.Image | None:
    """A caption's words beside one another, each above the picture as the model saw it for that word."""
    if not one["attention"]:
        return None
    strip = Image.new("RGB", (side * max(1, len(one["words"])), side + 16), "white")
    draw = ImageDraw.Draw(strip)
    with Image.open(io.BytesIO(base64.b64decode(one["image"]))) as image:
        picture = image.convert("RGB")
    picture.thumbnail((side, side))
    for i, (word, encoded) in enumerate(zip(one["words"], one["attention"])):
        alphas = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(one["grid"])
        strip.paste(gallery.overlay(picture, alphas), (i * side, 16))
        draw.text((i * side + 2, 2), word, fill="black")
    return strip
