"""CaptionEvaluator's executor."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator

import tensorflow as tf
from tfx.components.evaluator import constants, executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.caption_metrics import training
from components.caption_metrics.evaluation import read_decisions
from memefly.datasets.examples import read, strings

_SEEN = ("train", "val")


class Executor(executor.Executor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        evaluation = artifact_utils.get_single_uri(output_dict["evaluation"])
        if not _has_files(input_dict.get("baseline_model")):  # which LiveModel says of a first model
            input_dict = {name: those for name, those in input_dict.items() if name != "baseline_model"}
        config = json.loads(exec_properties["eval_config"])
        (metrics,) = config["metrics_specs"][0]["metrics"]
        knobs = json.loads(metrics["config"])
        knobs |= {
            "training": os.path.join(evaluation, training.FILE),
            "captions": os.path.join(evaluation, "captions"),
        }
        metrics["config"] = json.dumps(knobs)
        tf.io.gfile.makedirs(evaluation)
        training.write(knobs["training"], _captions(input_dict["examples"]))
        properties = {"eval_config": json.dumps(config), "module_path": "components.caption_metrics.extractors"}
        super().Do(input_dict, output_dict, exec_properties | properties)

        decisions = read_decisions(evaluation)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        kept = [dataclasses.asdict(d) for d in decisions if not d.passed or not d.slice]
        blessing.set_string_custom_property("decisions", json.dumps(kept))
        failed = [d.reason for d in decisions if not d.passed]
        if failed:  # TFMA has no word for rules that could not be judged
            with contextlib.suppress(tf.errors.NotFoundError):
                tf.io.gfile.remove(os.path.join(blessing.uri, constants.BLESSED_FILE_NAME))
            blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.NOT_BLESSED_VALUE)
        blessing.set_string_custom_property("reason", "; ".join(failed) or "every rule holds")


def _has_files(models: list | None) -> bool:
    return any(tf.io.gfile.exists(path_utils.serving_model_path(model.uri)) for model in models or [])


def _captions(examples: list) -> Iterator[tuple[str, str]]:
    """The group of its picture and each caption of `_SEEN`."""
    known = artifact_utils.decode_split_names(artifact_utils.get_single_instance(examples).split_names)
    for split in sorted(set(_SEEN) & set(known)):
        for uri in artifact_utils.get_split_uris(examples, split):
            for feature in read(uri):
                (group,) = strings(feature["group"]) or [""]
                for caption in strings(feature["captions"]):
                    yield group, caption
