"""CaptionMetrics: what `memefly.metrics` tells of captions, as metrics of TFMA's Evaluator.

    tfma.MetricConfig(class_name="CaptionMetrics", module="components.caption_metrics.captions")

Keys: `bleu1` … `bleu4`, `cider`, `rouge_l`, `chrf`; those of `diversity`, and `self_bleu4`; `constant_bleu4`, the
BLEU-4 of the best sentence that could be said to every picture of the same slice (all references and all captions of
the model are tried), and `bleu4_gain`, the difference. A captioner that says one sentence to every picture has a gain
of zero at most.

Labels are strings (n,) a picture, predictions the `caption` of the `evaluate` signature; both are cut into words by
`memefly.text`. What is collected is the captions themselves, since CIDEr and self-BLEU are of a whole corpus and no sum
over its parts: a few hundred bytes a picture and slice. They are put in order before they are scored, so the figures do
not depend on how Beam bundles the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

from memefly import text
from memefly.metrics import Corpus, best_constant_caption, diversity, self_bleu

NAME = "caption_metrics"
KEYS = (
    *("bleu1", "bleu2", "bleu3", "bleu4", "constant_bleu4", "bleu4_gain", "cider", "rouge_l", "chrf"),
    *("distinct_captions", "distinct_share", "distinct_1", "distinct_2", "self_bleu4", "vocabulary", "length"),
)

_Caption = tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]  # references, hypothesis


class CaptionMetrics(metric_types.Metric):
    """`code` changes nothing but the configuration: with it there, a cached evaluation does not outlive its code."""

    def __init__(self, name: str = NAME, code: str = ""):
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name, code=code)


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


class _Combiner(beam.CombineFn):
    def __init__(self, keys, eval_config, model_name: str, output_name: str):
        self._keys, self._eval_config = keys, eval_config
        self._model_name, self._output_name = model_name, output_name

    def create_accumulator(self) -> list[_Caption]:
        return []

    def add_input(self, accumulator: list[_Caption], element: metric_types.StandardMetricInputs) -> list[_Caption]:
        for label, prediction, _ in metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=self._model_name,
            output_name=self._output_name,
            flatten=False,  # all references of a picture together, not one at a time
            squeeze=False,
        ):
            references = tuple(tuple(text.tokenize(caption)) for caption in _strings(label))
            accumulator.append((references, tuple(text.tokenize(_strings(prediction)[0]))))
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[_Caption]]) -> list[_Caption]:
        return [caption for accumulator in accumulators for caption in accumulator]

    def extract_output(self, accumulator: list[_Caption]) -> dict[metric_types.MetricKey, float]:
        references, hypotheses = map(list, zip(*sorted(accumulator))) if accumulator else ([], [])
        values = Corpus.of(references, hypotheses).score() | diversity(hypotheses)
        values["self_bleu4"] = self_bleu(hypotheses)
        values["constant_bleu4"] = best_constant_caption(references, hypotheses)[1]
        values["bleu4_gain"] = values["bleu4"] - values["constant_bleu4"]
        return {self._keys[name]: float(values[name]) for name in KEYS}


def _strings(array: np.ndarray) -> list[str]:
    return [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in np.asarray(array, dtype=object).reshape(-1)]
