"""What TFMA reads of a picture besides its own extractors: all captions that a model drew for the gate, how well it
foresees those of people where that is asked, and the slices that the picture belongs to; and what the models said is
kept.

Slices (`names.SLICES`), beside the Examples' own `group`:

- `captions_per_picture`: how many people wrote, "1", "2 to 4", "5", "6 and more";
- `caption_length`: their mean length, "up to 8 words", "9 to 12 words", "13 words and more".

`evaluation/captions-*.jsonl` holds a line a picture: `image_id`, `source`, `group`, `references`, `caption`, and
`live`, the live model's, where there is one; where several are drawn, these are the first, and `drawn` and `live_drawn`
have all of them.
"""

from __future__ import annotations

import json

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.caption_metrics.captions import strings
from components.caption_metrics.foresight import Foresee
from memefly import text


def custom_extractors(eval_shared_model, eval_config, tensor_adapter_config) -> list:
    """As TFX's Evaluator calls it."""
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    # The last makes slice keys of features; before it, pictures come one by one.
    models = eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]
    paths = {model.model_name: model.model_path for model in models}
    ours = tfma.extractors.Extractor(stage_name="CaptionSlices", ptransform=_OfCaptions(eval_config, paths))
    return [*extractors[:-1], ours, extractors[-1]]


class _OfCaptions(beam.PTransform):
    def __init__(self, eval_config, paths: dict[str, str]):
        super().__init__()
        self._eval_config, self._paths = eval_config, paths
        (metrics,) = eval_config.metrics_specs[0].metrics
        self._knobs = json.loads(metrics.config)

    def expand(self, extracts):
        extracts |= "TakeDrawn" >> beam.Map(_with_drawn)
        if path := self._knobs.get("captions"):
            _ = (
                extracts
                | "ToLine" >> beam.Map(_line, eval_config=self._eval_config)
                | "Write" >> beam.io.WriteToText(path, file_name_suffix=".jsonl", num_shards=1)
            )
        if self._knobs.get("foresight"):
            extracts |= "Foresee" >> beam.ParDo(Foresee(self._paths))
        return extracts | "LeavePictures" >> beam.Map(_without_picture) | "AddSlices" >> beam.Map(_with_slices)


def _with_drawn(extracts: dict) -> dict:
    """What a model says of a picture, in `caption`: all that it drew, or the one. `predictions` hold what signatures
    gave, by output where there are several, and by model before that where there are two."""

    def taken(predictions: dict | np.ndarray) -> dict | np.ndarray:
        if not isinstance(predictions, dict):
            return predictions
        if "caption" not in predictions:
            return {model: taken(outputs) for model, outputs in predictions.items()}
        return {**predictions, "caption": predictions.get("drawn", predictions["caption"])}

    return {**extracts, "predictions": taken(extracts["predictions"])}


def _without_picture(extracts: dict) -> dict:
    """What is behind the models is grouped and shuffled by slices, and needs no pictures: they stand in `features` and,
    serialized, in `input`."""
    features = {name: value for name, value in extracts["features"].items() if name != "image"}
    return {**{name: value for name, value in extracts.items() if name != "input"}, "features": features}


def _with_slices(extracts: dict) -> dict:
    features = dict(extracts["features"])
    captions = strings(features["captions"])
    features["captions_per_picture"] = np.array([_number(len(captions))], dtype=object)
    words = sum(len(text.tokenize(caption)) for caption in captions) / len(captions)
    features["caption_length"] = np.array([_length(words)], dtype=object)
    if "group" in features and not any(strings(features["group"])):
        features["group"] = np.array([], dtype=object)  # in no slice
    return {**extracts, "features": features}


def _number(captions: int) -> str:
    return str(captions) if captions in (1, 5) else "2 to 4" if captions < 5 else "6 and more"


def _length(words: float) -> str:
    return "up to 8 words" if words < 8.5 else "9 to 12 words" if words < 12.5 else "13 words and more"


def _line(extracts: dict, eval_config) -> str:
    features = extracts["features"]
    line: dict[str, str | list[str]] = {
        key: "".join(strings(features.get(key, []))) for key in ("image_id", "source", "group")
    }
    inputs = metric_types.StandardMetricInputs(extracts)
    for spec in eval_config.model_specs:
        ((label, prediction, _),) = metric_util.to_label_prediction_example_weight(
            inputs, eval_config=eval_config, model_name=spec.name, flatten=False, squeeze=False
        )
        line["references"] = strings(label)
        first, *others = strings(prediction)
        line["live" if spec.is_baseline else "caption"] = first
        if others:
            line["live_drawn" if spec.is_baseline else "drawn"] = [first, *others]
    return json.dumps(line)
