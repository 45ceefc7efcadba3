"""CaptionMetrics: what `memefly.metrics` tells of captions, as metrics of TFMA's Evaluator.

    tfma.MetricConfig(class_name="CaptionMetrics", module="components.caption_metrics.captions")

Of every slice:

- `SCORES`, by the tools of `memefly.metrics`, and of each the ends of its 95 % bootstrap interval, `_low` and `_high`;
- `PLAIN`: `pictures`, and of them `captions`, several of each where the model draws them for the gate
  (`decoding.judged`); `constant_bleu4`, the BLEU-4 of the best sentence that could be said to every picture of the
  slice (all references and all captions of the model are tried), and `bleu4_gain`, what is above it; `others_cider`,
  CIDEr-D where the captions are said to other pictures, and `cider_gain`, what is above it: a captioner that does not
  look gains nothing in either. These and the scores are of the first caption of each picture, what follows of all of
  them: what `diversity` tells, `self_bleu4` and `valid_share`;
- with `training`, what `memefly.metrics.learnt` tells: copying, and most else beside people, `_excess` what is above
  theirs;
- with `foresight`, and of models of ours: `bits_a_character`, one of the scores, the lower the better; `bits_unseen`,
  the same without the picture, and `looking_gain`, what the picture spares;
- with `distances`, what `memefly.metrics.mauve` tells;
- for the candidate beside a live model: of each score the difference to it on the same pictures, `_change`, with the
  ends of its interval by the paired bootstrap, `_change_low` and `_change_high` at 95 %, `_change_lower` and
  `_change_upper` at 99.9 %, and `_change_p`.

And for thresholds:

- `SCORE_regression`: how much worse than the live model's, 0 if the 95 % interval reaches 0, so that noise alone is
  none;
- `SCORE_improvement`: how much better, 0 likewise;
- `SCORE_upper` and `SCORE_sure_regression`, by 99.9 % intervals: a slice is judged by them, because of many slices one
  in forty would fail the others by chance. A slice of fewer than `min_pictures` is not judged: it passes both.

What could not be computed, such as template recall without groups, or CIDEr-D and intervals of a single picture, is
NaN, and a threshold on it fails. CIDEr-D of a slice takes its document frequencies from the slice: it compares models
on that slice, not slices with one another.

Labels are strings (n,) a picture, predictions the captions of the `evaluate` signature, as
`components.caption_metrics.extractors` leaves them; both are cut into words by `memefly.text`. What is collected is the
captions themselves, since CIDEr, self-BLEU and intervals are of a whole corpus and no sum over its parts: a few hundred
bytes a picture and slice. They are put in order before they are scored, so the figures do not depend on how Beam
bundles the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.caption_metrics import training as training_captions
from components.caption_metrics.names import CHANGE, INTERVAL, JUDGED, LOWER_IS_BETTER, PLAIN, SCORES
from memefly.metrics import Corpus, compare, intervals, sentences
from memefly.metrics.cider import CiderScorer
from memefly.metrics.information import Bits, Foreseen
from memefly.metrics.judgement import judge
from memefly.metrics.learnt import Learnt, Saying

NAME = "caption_metrics"
SURE = 0.999
MIN_PICTURES = 10
FORESEEN = "foreseen of "  # feature of a picture: float64 (4,), of the model of that name
_OF_MANY = ("cider", "others_cider", "cider_gain")  # a single picture has no document frequencies


class _Picture(NamedTuple):
    references: tuple[Saying, ...]
    said: tuple[Saying, ...]
    live: tuple[Saying, ...]  # what the live model said, () where there is none
    foreseen: Foreseen | None  # by the candidate, where that was asked and it can tell
    live_foreseen: Foreseen | None


class CaptionMetrics(metric_types.Metric):
    """`training`: a file of `components.caption_metrics.training`, for novelty and template recall. `code` changes
    nothing but the configuration: with it there, a cached evaluation does not outlive its code."""

    def __init__(
        self,
        name: str = NAME,
        training: str = "",
        captions: str = "",
        min_pictures: int = MIN_PICTURES,
        foresight: bool = False,
        distances: bool = False,
        code: str = "",
    ):
        super().__init__(
            metric_util.merge_per_key_computations(_computations),
            name=name,
            training=training,
            captions=captions,  # where `components.caption_metrics.extractors` writes them
            min_pictures=min_pictures,
            foresight=foresight,  # which the same computes
            distances=distances,
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
    foresight: bool = False,
    distances: bool = False,
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
    combiner = _Combiner(keys, eval_config, model_name, live, output_name, training, min_pictures, distances)
    features = ["group", *(f"{FORESEEN}{name}" for name in (model_name, live) if name is not None)]
    return [
        metric_types.MetricComputation(
            keys=list(keys.values()),
            preprocessors=[metric_types.FeaturePreprocessor(feature_keys=features)],
            combiner=combiner,
        )
    ]


class _Combiner(beam.CombineFn):
    def __init__(
        self,
        keys,
        eval_config,
        model: str,
        live: str | None,
        output: str,
        training: str,
        min_pictures: int,
        distances: bool,
    ):
        self._keys, self._eval_config, self._output, self._distances = keys, eval_config, output, distances
        self._model, self._live, self._training, self._min_pictures = model, live, training, min_pictures

    def create_accumulator(self) -> list[_Picture]:
        return []

    def add_input(self, accumulator: list[_Picture], element: metric_types.StandardMetricInputs) -> list[_Picture]:
        features = element.features or {}
        (group,) = strings(features.get("group", []))[:1] or [""]
        references, said = self._read(element, self._model, group)
        live = self._read(element, self._live, group)[1] if self._live is not None else ()
        foreseen, live_foreseen = (_foreseen(features.get(f"{FORESEEN}{name}")) for name in (self._model, self._live))
        accumulator.append(_Picture(references, said, live, foreseen, live_foreseen))
        return accumulator

    def _read(self, element, model: str, group: str) -> list[tuple[Saying, ...]]:
        ((label, prediction, _),) = metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=model,
            output_name=self._output,
            flatten=False,  # all references of a picture together, not one at a time
            squeeze=False,
        )
        return [tuple(Saying.of(caption, group) for caption in strings(array)) for array in (label, prediction)]

    def merge_accumulators(self, accumulators: Iterable[list[_Picture]]) -> list[_Picture]:
        return [picture for accumulator in accumulators for picture in accumulator]

    def extract_output(self, accumulator: list[_Picture]) -> dict[metric_types.MetricKey, float]:
        values = self._judge(sorted(accumulator)) if accumulator else {}
        return {key: float(values.get(name, math.nan)) for name, key in self._keys.items()}

    def _judge(self, pictures: list[_Picture]) -> dict[str, float]:
        people, said, live_said, foreseen, live_foreseen = map(list, zip(*pictures))
        references, many = [[caption.words for caption in captions] for captions in people], len(pictures)
        scorer = CiderScorer(references)
        learnt = training_captions.read(self._training) if self._training else Learnt(())
        embed = sentences.embed if self._distances else None
        judgement = judge(people, said, learnt, _all(foreseen), embed, scorer)
        corpus, values = judgement.corpus, dict(judgement.metrics)
        enough = many >= max(2, self._min_pictures)
        values |= {f"{score}_upper": math.inf for score in SCORES}  # of what is too small to tell
        values |= {f"{score}_sure_regression": 0.0 for score in SCORES}
        if many < 2:
            return {name: value for name, value in values.items() if name not in _OF_MANY}
        values |= {f"{score}_{rule}": 0.0 for score in corpus.score() for rule in ("regression", "improvement")}
        for score, interval in intervals(corpus).items():
            values |= {f"{score}_low": interval.low, f"{score}_high": interval.high}
        if enough:
            values |= {f"{score}_upper": interval.high for score, interval in intervals(corpus, level=SURE).items()}
        if self._live is None:
            return values
        lives = _all(live_foreseen)
        lives_bits = [both.shown for both in lives] if lives else None
        live = Corpus.of(references, [captions[0].words for captions in live_said], scorer, lives_bits)
        changes, sure = compare(corpus, live), compare(corpus, live, level=SURE)
        # What the live model cannot tell is compared with nothing, and no rule on it holds.
        values |= {f"{score}_{rule}": math.nan for score in corpus.score().keys() - changes.keys() for rule in JUDGED}
        for score, change in changes.items():
            parts = (change.value, change.low, change.high, change.p, sure[score].low, sure[score].high)
            values |= {f"{score}_{part}": value for part, value in zip(CHANGE, parts)}
            better, worse = change.low > 0, change.high < 0
            surely_worse = sure[score].high < 0
            if score in LOWER_IS_BETTER:
                better, worse, surely_worse = worse, better, sure[score].low > 0
            values[f"{score}_regression"] = abs(change.value) if worse else 0.0
            values[f"{score}_improvement"] = abs(change.value) if better else 0.0
            if enough and surely_worse:
                values[f"{score}_sure_regression"] = abs(change.value)
        return values


def _foreseen(feature: np.ndarray | None) -> Foreseen | None:
    """As `components.caption_metrics.foresight` leaves it."""
    if feature is None or not np.size(feature):
        return None
    return Foreseen(*(Bits(float(needed), int(characters)) for needed, characters in np.reshape(feature, [2, 2])))


def _all(foreseen: list[Foreseen | None]) -> list[Foreseen] | None:
    known = [one for one in foreseen if one is not None]
    return known if len(known) == len(foreseen) else None


def strings(array: np.ndarray) -> list[str]:
    return [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in np.asarray(array, dtype=object).reshape(-1)]
