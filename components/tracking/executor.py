"""Tracking's executor."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.caption_metrics.evaluation import read_failures, read_metrics
from memefly import export, text, tracking
from memefly.metrics import best_constant_caption

GALLERY = "gallery.json"


class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        model_uri = artifact_utils.get_single_uri(input_dict["model"])
        evaluation = artifact_utils.get_single_uri(input_dict["evaluation"])
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        model = export.load(path_utils.serving_model_path(model_uri))
        shown, references = _read(
            artifact_utils.get_split_uri(input_dict["examples"], "eval"), exec_properties["pictures"]
        )
        captions = model.caption([one["image"] for one in shown])
        for one, best in zip(shown, captions):
            one["captions"] = [{"text": c.text, "score": c.score} for c in best]
        constant, constant_bleu4 = best_constant_caption([[text.tokenize(c) for c in group] for group in references])

        folder = Path(artifact_utils.get_single_uri(output_dict["gallery"]))
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [{**one, "image": base64.b64encode(one["image"]).decode()} for one in shown]
        gallery = {"constant_caption": constant, "constant_bleu4": constant_bleu4, "pictures": pictures}
        (folder / GALLERY).write_text(json.dumps(gallery, ensure_ascii=False), encoding="utf-8")

        manifest = model.manifest
        lineage = {
            "model_digest": manifest["digest"],
            "encoder": manifest["encoder"],
            "git": manifest["git"],
            "pushed_version": pushed.get_string_custom_property("pushed_version") or None,
            "blessed": artifact_utils.get_single_instance(input_dict["model_blessing"]).get_int_custom_property(
                "blessed"
            )
            == 1,
            "gate": read_failures(evaluation),
            "artifacts": {
                key: [artifact.uri for artifact in artifacts] for key, artifacts in sorted(input_dict.items())
            },
        }
        with tracking.Run(exec_properties["root"], job_type="gate", config=lineage) as run:
            run.summarize({f"eval/{k}": v for k, v in read_metrics(evaluation).items()})
            samples = [
                {"image": one["image"], "caption": one["captions"][0]["text"], "references": one["references"]}
                for one in shown[:16]
            ]
            run.log_captions("eval_samples", samples)


def _read(folder: str, count: int) -> tuple[list[dict], list[list[str]]]:
    """The first `count` pictures of a split, and the references of all of them."""
    files = sorted(tf.io.gfile.glob(str(Path(folder) / "*")))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    shown, references = [], []
    for record in tf.data.TFRecordDataset(files, compression).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        captions = [c.decode("utf-8") for c in feature["captions"].bytes_list.value]
        references.append(captions)
        if len(shown) < count:
            shown.append(
                {
                    "image": feature["image"].bytes_list.value[0],
                    "source": feature["source"].bytes_list.value[0].decode("utf-8"),
                    "group": feature["group"].bytes_list.value[0].decode("utf-8"),
                    "references": captions,
                }
            )
    return shown, references
