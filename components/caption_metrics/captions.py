"""CaptionMetrics: what `memefly.metrics` tells of captions, as metrics of TFMA's Evaluator.

    tfma.MetricConfig(class_name="CaptionMetrics", module="components.caption_metrics.captions")

Of every slice:

- `SCORES`, by the tools of `memefly.metrics`, and of each the ends of its 95 % bootstrap interval, `_low` and `_high`;
- `PLAIN`: `pictures`; what `diversity` tells, `self_bleu4` and `valid_share`; `constant_bleu4`, the BLEU-4 of the best
  sentence that could be said to every picture of the slice (all references and all captions of the model are tried),
  and `bleu4_gain`, what is above it; `others_cider`, CIDEr-D where the captions are said to other pictures, and
  `cider_gain`, what is above it: a captioner that does not look gains nothing in either;
- with `training`: `copied_share` and `nearest_similarity`, and `template_recall` where pictures are of groups;
- for the candidate beside a live model: of each score the difference to it on the same pictures, `_change`, with the
  ends of its interval by the paired bootstrap, `_change_low` and `_change_high` at 95 %, `_change_lower` and
  `_change_upper` at 99.9 %, and `_change_p`.

And for thresholds:

- `SCORE_regression`: how far below the live model's, 0 if the 95 % interval reaches 0, so that noise alone is none;
- `SCORE_improvement`: how far above it, 0 likewise;
- `SCORE_upper` and `SCORE_sure_regression`, by 99.9 % intervals: a slice is judged by them, because of many slices one
  in forty would fail the others by chance. A slice of fewer than `min_pictures` is not judged: it passes both.

What could not be computed, such as template recall without groups, or CIDEr-D and intervals of a single picture, is
NaN, and a threshold on it fails. CIDEr-D of a slice takes its document frequencies from the slice: it compares models
on that slice, not slices with one another.

Labels are strings (n,) a picture, predictions the `caption` of the `evaluate` signature; both are cut into words by
`memefly.text`. What is collected is the captions themselves, since CIDEr, self-BLEU and intervals are of a whole corpus
and no sum over its parts: a few hundred bytes a picture and slice. They are put in order before they are scored, so the
figures do not depend on how Beam bundles the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.caption_metrics import training as training_captions
from components.caption_metrics.names import CHANGE, INTERVAL, JUDGED, PLAIN, SCORES
from memefly import text
from memefly.metrics import (
    Corpus,
    best_constant_caption,
    cider_of_others,
    compare,
    diversity,
    intervals,
    self_bleu,
    valid_share,
)
from memefly.metrics.cider import CiderScorer
from memefly.metrics.templates import template_recall

NAME = "caption_metrics"
SURE = 0.999
MIN_PICTURES = 10
_OF_MANY = ("cider", "others_cider", "cider_gain")  # a single picture has no document frequencies


class _Picture(NamedTuple):
    references: tuple[tuple[str, ...], ...]
    said: tuple[str, ...]
    live: tuple[str, ...]  # what the live model said, () where there is none
    group: str


class CaptionMetrics(metric_types.Metric):
    """`training`: a file of `components.caption_metrics.training`, for novelty and template recall. `code` changes
    nothing but the configuration: with it there, a cached evaluation does not outlive its code."""

    def __init__(
        self,
        name: str = NAME,
        training: str = "",
        captions: str = "",
        min_pictures: int = MIN_PICTURES,
        code: str = "",
    ):
        super().__init__(
            metric_util.merge_per_key_computations(_computations),
            name=name,
            training=training,
            captions=captions,  # where `components.caption_metrics.extractors` writes them
            min_pictures=min_pictures,
            code=code,
        )


metric_types.register_metric(CaptionMetrics)


def _computations(
    name: str,
    eval_config=None,
    model_name: str = "",
    output_name: str = "",
    aggregation_type=None,
    sub_key=None,
    class_weights=None,
    example_weighted: bool = False,
    training: str = "",
    captions: str = "",
    min_pictures: int = MIN_PICTURES,
    code: str = "",
) -> metric_types.MetricComputations:
    specs = eval_config.model_specs if eval_config else []
    live = next((spec.name for spec in specs if spec.is_baseline and spec.name != model_name), None)
    names = [*SCORES, *PLAIN, *(f"{score}_{end}" for score in SCORES for end in (*INTERVAL, *JUDGED))]
    if live is not None:
        names += [f"{score}_{part}" for score in SCORES for part in CHANGE]
    keys = {
        metric: metric_types.MetricKey(
            name=metric,
            model_name=model_name,
            output_name=output_name,
            sub_key=sub_key,
            example_weighted=None,  # these metrics know no weights, and thresholds by name look for None
        )
        for metric in names
    }
    return [
        metric_types.MetricComputation(
            keys=list(keys.values()),
            preprocessors=[metric_types.FeaturePreprocessor(feature_keys=["group"])],
            combiner=_Combiner(keys, eval_config, model_name, live, output_name, training, min_pictures),
        )
    ]


class _Combiner(beam.CombineFn):
    def __init__(self, keys, eval_config, model: str, live: str | None, output: str, training: str, min_pictures: int):
        self._keys, self._eval_config, self._output = keys, eval_config, output
        self._model, self._live, self._training, self._min_pictures = model, live, training, min_pictures

    def create_accumulator(self) -> list[_Picture]:
        return []

    def add_input(self, accumulator: list[_Picture], element: metric_types.StandardMetricInputs) -> list[_Picture]:
        references, said = self._read(element, self._model)
        live = self._read(element, self._live)[1] if self._live is not None else ()
        group = strings((element.features or {}).get("group", []))
        accumulator.append(_Picture(references, said, live, group[0] if group else ""))
        return accumulator

    def _read(self, element, model: str) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
        ((label, prediction, _),) = metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=model,
            output_name=self._output,
            flatten=False,  # all references of a picture together, not one at a time
            squeeze=False,
        )
        references = tuple(tuple(text.tokenize(caption)) for caption in strings(label))
        return references, tuple(text.tokenize(strings(prediction)[0]))

    def merge_accumulators(self, accumulators: Iterable[list[_Picture]]) -> list[_Picture]:
        return [picture for accumulator in accumulators for picture in accumulator]

    def extract_output(self, accumulator: list[_Picture]) -> dict[metric_types.MetricKey, float]:
        values = self._judge(sorted(accumulator)) if accumulator else {}
        return {key: float(values.get(name, math.nan)) for name, key in self._keys.items()}

    def _judge(self, pictures: list[_Picture]) -> dict[str, float]:
        references, said, lives, _groups = map(list, zip(*pictures))
        scorer, many = CiderScorer(references), len(pictures)
        corpus = Corpus.of(references, said, scorer)
        values = {"pictures": many, **corpus.score(), **diversity(said)}
        values["self_bleu4"], values["valid_share"] = self_bleu(said), valid_share(said)
        values["constant_bleu4"] = best_constant_caption(references, said)[1]
        values["bleu4_gain"] = values["bleu4"] - values["constant_bleu4"]
        values["others_cider"] = cider_of_others(references, said, scorer=scorer)
        values["cider_gain"] = values["cider"] - values["others_cider"]
        if self._training:
            training = training_captions.read(self._training)
            values |= training.novelty.of(said).score()
            of_groups = [(p.said, p.group) for p in pictures if p.group in training.groups]
            if of_groups and training.classifier:
                values["template_recall"] = template_recall(training.classifier, *map(list, zip(*of_groups)))
        enough = many >= max(2, self._min_pictures)
        values |= {f"{score}_upper": math.inf for score in SCORES}  # of what is too small to tell
        values |= {f"{score}_sure_regression": 0.0 for score in SCORES}
        if many < 2:
            return {name: value for name, value in values.items() if name not in _OF_MANY}
        values |= {f"{score}_{rule}": 0.0 for score in SCORES for rule in ("regression", "improvement")}
        for score, interval in intervals(corpus).items():
            values |= {f"{score}_low": interval.low, f"{score}_high": interval.high}
        if enough:
            values |= {f"{score}_upper": interval.high for score, interval in intervals(corpus, level=SURE).items()}
        if self._live is None:
            return values
        live = Corpus.of(references, lives, scorer)
        sure = compare(corpus, live, level=SURE)
        for score, change in compare(corpus, live).items():
            parts = (change.value, change.low, change.high, change.p, sure[score].low, sure[score].high)
            values |= {f"{score}_{part}": value for part, value in zip(CHANGE, parts)}
            values[f"{score}_regression"] = max(0.0, -change.value) if change.high < 0 else 0.0
            values[f"{score}_improvement"] = max(0.0, change.value) if change.low > 0 else 0.0
            if enough and sure[score].high < 0:
                values[f"{score}_sure_regression"] = max(0.0, -change.value)
        return values


def strings(array: np.ndarray) -> list[str]:
    return [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in np.asarray(array, dtype=object).reshape(-1)]
