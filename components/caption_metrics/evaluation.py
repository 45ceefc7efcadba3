"""Reads what the Evaluator wrote."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass

import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2

from components.caption_metrics.names import BASELINE, CANDIDATE, CHANGE, LOWER_IS_BETTER, PLAIN, SCORES, SLICES

_SUFFIXES = {"_sure_regression": "regressions", "_regression": "regressions", "_improvement": "improvements"}
_SUFFIXES |= {"_upper": "floors"}


@dataclass(frozen=True)
class Decision:
    """A rule of the gate, on all pictures or on a slice, and what came of it."""

    rule: str  # as the configuration has it: "floors.bleu4", "slices.group.floors.cider"
    slice: str  # "" for all pictures, else "group doge"
    metric: str
    value: float | None  # of the candidate; for rules about a live model, the difference to it
    threshold: float
    baseline: float | None  # the live model's value
    passed: bool
    reason: str


def read_metrics(evaluation_uri: str, model_name: str | None = None) -> dict[str, float]:
    """Overall values of a model (by default the candidate, however it is named) by metric; empty if it has none."""
    values = _values(evaluation_uri, model_name).get((), {})
    return {name: values[name] for name in (*SCORES, *PLAIN) if name in values}


def read_intervals(evaluation_uri: str, model_name: str | None = None) -> dict[str, list[float]]:
    """By score, the ends of the 95 % interval of a model's overall value."""
    values = _values(evaluation_uri, model_name).get((), {})
    return {score: [values[f"{score}_low"], values[f"{score}_high"]] for score in SCORES if f"{score}_low" in values}


def read_changes(evaluation_uri: str) -> dict[str, dict[str, float]]:
    """By score, the candidate's difference to the live model: `value`, `low`, `high`, `p`; empty without one."""
    values = _values(evaluation_uri).get((), {})
    parts = dict(zip(CHANGE, ("value", "low", "high", "p")))
    return {
        score: {name: values[f"{score}_{part}"] for part, name in parts.items()}
        for score in SCORES
        if f"{score}_change" in values
    }


def read_slices(evaluation_uri: str) -> list[dict]:
    """Every slice: {by, value, pictures, metrics, intervals, baseline: metrics or None}, by feature, the largest
    first."""
    ours, theirs = _values(evaluation_uri), _values(evaluation_uri, BASELINE)
    found = []
    for key, values in ours.items():
        if not key:
            continue
        live = theirs.get(key)
        found.append(
            {
                "by": key[0][0],
                "value": key[0][1],
                "pictures": int(values["pictures"]),
                "metrics": {name: values[name] for name in (*SCORES, *PLAIN) if name in values},
                "intervals": {s: [values[f"{s}_low"], values[f"{s}_high"]] for s in SCORES if f"{s}_low" in values},
                "baseline": {name: live[name] for name in (*SCORES, *PLAIN) if name in live} if live else None,
            }
        )
    return sorted(found, key=lambda s: (SLICES.index(s["by"]), -s["pictures"], s["value"]))


def read_captions(evaluation_uri: str) -> list[dict]:
    """What the models said: {image_id, source, group, references, caption, live (where there is one)} a picture, and
    `drawn`, `live_drawn` where they said more."""
    found = []
    for path in sorted(tf.io.gfile.glob(f"{evaluation_uri}/captions-*.jsonl")):
        with tf.io.gfile.GFile(path) as lines:
            found += [json.loads(line) for line in lines]
    return sorted(found, key=lambda one: one["image_id"])


def read_decisions(evaluation_uri: str) -> list[Decision]:
    """Every rule that was asked, those on all pictures first; TFMA's verdict, in words. A rule on slices that no slice
    is large enough for is broken, which TFMA does not say: it could not be judged."""
    result = tfma.load_validation_result(evaluation_uri)
    failed = {
        (_slice(validation.slice_key), failure.metric_key.name.removesuffix("_diff"))
        for validation in result.metric_validations_per_slice
        for failure in validation.failures
    }
    ours, theirs = _values(evaluation_uri), _values(evaluation_uri, BASELINE)
    config = _config(evaluation_uri)
    least = json.loads(config.metrics_specs[0].metrics[0].config)["min_pictures"]
    decisions = []
    for spec in config.metrics_specs:
        for name, of_metric in sorted(spec.per_slice_thresholds.items()):
            for one in of_metric.thresholds:
                if not (one.threshold.HasField("change_threshold") or one.threshold.HasField("value_threshold")):
                    continue  # about a live model, and there is none
                (slicing,) = one.slicing_specs
                feature = slicing.feature_keys[0] if slicing.feature_keys else None
                keys = [key for key in ours if (key[0][0] if key else None) == feature]
                if feature:
                    keys = [key for key in keys if ours[key]["pictures"] >= least]
                if not keys:
                    decisions.append(_of_nothing(name, feature, one.threshold, least))
                for key in keys:
                    passed = (key, name) not in failed
                    live = theirs.get(key, {})
                    decisions += _decisions(name, key, one.threshold, ours[key], live, passed)
    decisions.sort(key=lambda d: (bool(d.slice), d.slice, d.rule))
    if not result.validation_ok and all(d.passed for d in decisions):
        raise RuntimeError(f"the rules that failed do not explain TFMA's verdict: {result}")  # never silently blessed
    return decisions


def _decisions(name: str, key: tuple, threshold, values: dict, live: dict, passed: bool) -> list[Decision]:
    metric, kind = _kind(name)
    where = " ".join(key[0]) if key else ""
    prefix, of = (f"slices.{key[0][0]}.", f"{where}: ") if key else ("", "")
    value = values.get(metric)
    told = "not to be computed here" if value is None else f"{value:.4f}"
    found = []
    if threshold.HasField("change_threshold"):
        bound, change = round(threshold.change_threshold.absolute.value, 8), values.get(f"{metric}_change")
        ends, level = (("lower", "upper"), 99.9) if name.endswith("_sure_regression") else (("low", "high"), 95)
        low, high = (values.get(f"{metric}_change_{end}") for end in ends)
        rule = f"{prefix}{kind}.{metric}"
        reason = f"{of}{metric} is {told}, the live model's {live.get(metric, math.nan):.4f}: "
        reason += "" if change is None else f"{change:+.4f}, between {low:+.4f} and {high:+.4f} at {level} %; "
        less, more = ("more", "less") if metric in LOWER_IS_BETTER else ("less", "more")
        if kind == "regressions":
            reason += f"{bound:.4g} {less} is tolerated, or what chance alone can show (gate.{rule})"
        else:
            reason += f"{bound:.4g} {more} are asked, and more than chance alone can show (gate.{rule})"
        return [Decision(rule, where, metric, change, bound, live.get(metric), passed, reason)]
    bounds = threshold.value_threshold
    for kind_, side, word in (("floors", "lower_bound", "least"), ("ceilings", "upper_bound", "most")):
        if not bounds.HasField(side):
            continue
        bound = round(getattr(bounds, side).value, 8)
        rule = f"{prefix}{kind_}.{metric}"
        reason = f"{of}{metric} is {told}, must be at {word} {bound:.4f} (gate.{rule})"
        if name.endswith("_upper"):
            upper = f"{values[name]:.4f}" if name in values else "anything"  # too small to tell
            reason = f"{of}{metric} is {told}, at most {upper} at 99.9 %; must be at {word} {bound:.4f} (gate.{rule})"
        # A metric may have both bounds; TFMA tells only that one of them does not hold.
        holds = value is not None and (value >= bound - 1e-7 if side == "lower_bound" else value <= bound + 1e-7)
        two = bounds.HasField("lower_bound") and bounds.HasField("upper_bound")
        found.append(Decision(rule, where, metric, value, bound, live.get(metric), holds if two else passed, reason))
    return found


def _of_nothing(name: str, feature: str | None, threshold, least: int) -> Decision:
    """A rule on slices that are not there, or too small: what could not be judged is not let through."""
    metric, kind = _kind(name)
    rule = f"slices.{feature}.{kind}.{metric}"
    bound = (
        threshold.change_threshold.absolute.value
        if threshold.HasField("change_threshold")
        else threshold.value_threshold.lower_bound.value
    )
    reason = f"no {feature} has {least} pictures in eval (gate.min_pictures), so gate.{rule} cannot be judged; "
    reason += "lower the one or take the other away"
    return Decision(rule, f"{feature} (none)", metric, None, round(bound, 8), None, False, reason)


def _kind(name: str) -> tuple[str, str]:
    for suffix, kind in _SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), kind
    return name, "floors"


def _config(evaluation_uri: str) -> config_pb2.EvalConfig:
    with tf.io.gfile.GFile(f"{evaluation_uri}/eval_config.json") as file:
        return json_format.ParseDict(json.load(file)["evalConfig"], config_pb2.EvalConfig())


def _slice(slice_key) -> tuple:
    return tuple((one.column, one.bytes_value.decode("utf-8")) for one in slice_key.single_slice_keys)


@functools.lru_cache(maxsize=4)  # what an Evaluator wrote does not change, and every reader here asks for it
def _values(evaluation_uri: str, model_name: str | None = None) -> dict[tuple, dict[str, float]]:
    """All finite values of a model, by slice and metric."""
    names = [model_name] if model_name is not None else [CANDIDATE, ""]
    for name in names:
        try:
            result = tfma.load_eval_result(evaluation_uri, model_name=name)
        except (ValueError, KeyError, IndexError):  # TFMA's ways to say that there is no such model
            continue
        found = {}
        for slice_key, outputs in result.slicing_metrics:
            values = {
                metric: float(value["doubleValue"])
                for metric, value in outputs.get("", {}).get("", {}).items()
                if "doubleValue" in value
            }
            values = {metric: value for metric, value in values.items() if math.isfinite(value)}
            if values:
                found[tuple(slice_key)] = values
        if found:
            return found
    return {}
