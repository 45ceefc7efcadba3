"""CaptionBleu: corpus BLEU-1 to BLEU-4 of the model, of the best constant caption, and the gain of one over the other.

    tfma.MetricConfig(class_name="CaptionBleu", module="components.caption_metrics.bleu")

Keys: `bleu1` … `bleu4`; `constant_bleu4`, the BLEU-4 of the best sentence that could be said to every picture of the
same slice (all references and all captions of the model are tried); `bleu4_gain`, the difference; and
`distinct_captions`. A captioner that says one sentence to every picture has a gain of zero at most.

Labels are strings (n,) a picture, predictions the `caption` of the `evaluate` signature; both are cut into words by
`memefly.text`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

from memefly import text
from memefly.metrics.bleu import BleuStatistics
from memefly.metrics.constant import ConstantCaptionSearch

NAME = "caption_bleu"
KEYS = ("bleu1", "bleu2", "bleu3", "bleu4", "constant_bleu4", "bleu4_gain", "distinct_captions")


class CaptionBleu(metric_types.Metric):
    """`code` changes nothing but the configuration: with it there, a cached evaluation does not outlive its code."""

    def __init__(self, name: str = NAME, code: str = ""):
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name, code=code)


metric_types.register_metric(CaptionBleu)


def _computations(
    name: str,
    eval_config=None,
    model_name: str = "",
    output_name: str = "",
    aggregation_type=None,
    sub_key=None,
    class_weights=None,
    example_weighted: bool = False,
    code: str = "",
) -> metric_types.MetricComputations:
    def key(metric: str) -> metric_types.MetricKey:
        return metric_types.MetricKey(
            name=metric,
            model_name=model_name,
            output_name=output_name,
            sub_key=sub_key,
            example_weighted=None,  # these metrics know no weights, and thresholds by name look for None
        )

    keys = {metric: key(metric) for metric in KEYS}
    return [
        metric_types.MetricComputation(
            keys=list(keys.values()), preprocessors=None, combiner=_Combiner(keys, eval_config, model_name, output_name)
        )
    ]


@dataclass
class _Accumulator:
    statistics: BleuStatistics = field(default_factory=BleuStatistics)
    constant: ConstantCaptionSearch = field(default_factory=ConstantCaptionSearch)
    hypotheses: set[tuple[str, ...]] = field(default_factory=set)


class _Combiner(beam.CombineFn):
    def __init__(self, keys, eval_config, model_name: str, output_name: str):
        self._keys, self._eval_config = keys, eval_config
        self._model_name, self._output_name = model_name, output_name

    def create_accumulator(self) -> _Accumulator:
        return _Accumulator()

    def add_input(self, accumulator: _Accumulator, element: metric_types.StandardMetricInputs) -> _Accumulator:
        for label, prediction, _ in metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=self._model_name,
            output_name=self._output_name,
            flatten=False,  # all references of a picture together, not one at a time
            squeeze=False,
        ):
            references = [text.tokenize(caption) for caption in _strings(label)]
            hypothesis = text.tokenize(_strings(prediction)[0])
            accumulator.statistics += BleuStatistics.of(references, hypothesis)
            accumulator.constant.add(references, [hypothesis])
            accumulator.hypotheses.add(tuple(hypothesis))
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Accumulator]) -> _Accumulator:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.statistics += accumulator.statistics
            merged.constant.merge(accumulator.constant)
            merged.hypotheses |= accumulator.hypotheses
        return merged

    def extract_output(self, accumulator: _Accumulator) -> dict[metric_types.MetricKey, float]:
        values = accumulator.statistics.score()
        values["constant_bleu4"] = accumulator.constant.best()[1]
        values["bleu4_gain"] = values["bleu4"] - values["constant_bleu4"]
        values["distinct_captions"] = float(len(accumulator.hypotheses))
        return {self._keys[name]: values[name] for name in KEYS}


def _strings(array: np.ndarray) -> list[str]:
    return [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in np.asarray(array, dtype=object).reshape(-1)]
