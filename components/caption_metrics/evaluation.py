"""Reads what the Evaluator wrote."""

from __future__ import annotations

import tensorflow_model_analysis as tfma

from components.caption_metrics.captions import KEYS

CANDIDATE, BASELINE = "candidate", "baseline"
KNOBS = {"bleu4": "gate.min_bleu4", "bleu4_gain": "gate.min_gain: BLEU-4 above the best constant caption's"}


def read_metrics(evaluation_uri: str, model_name: str | None = None) -> dict[str, float]:
    """Overall values of a model (by default the candidate, however it is named) by metric; empty if it has none."""
    names = [model_name] if model_name is not None else [CANDIDATE, ""]
    for name in names:
        try:
            result = tfma.load_eval_result(evaluation_uri, model_name=name)
        except (ValueError, KeyError, IndexError):  # TFMA's ways to say that there is no such model
            continue
        values = {}
        for slice_key, outputs in result.slicing_metrics:
            if slice_key == ():
                for metric, value in outputs.get("", {}).get("", {}).items():
                    if metric in KEYS and "doubleValue" in value:
                        values[metric] = float(value["doubleValue"])
        if values:
            return values
    return {}


def read_failures(evaluation_uri: str) -> list[str]:
    """Why the gate said no, a sentence a threshold that was missed; empty if it said yes."""
    result = tfma.load_validation_result(evaluation_uri)
    failures = [
        _sentence(failure) for validation in result.metric_validations_per_slice for failure in validation.failures
    ]
    if not result.validation_ok and not failures:
        failures.append("the gate could not be evaluated: " + (str(result).strip() or "no metrics came out"))
    return failures


def _sentence(failure) -> str:
    name, value = failure.metric_key.name.removesuffix("_diff"), failure.metric_value.double_value.value
    threshold = failure.metric_threshold
    if failure.message:
        return f"{name}: {failure.message}"
    if failure.metric_key.is_diff:
        return (
            f"{name} is {-value:.4f} below the live model's; at most "
            f"{-threshold.change_threshold.absolute.value:.4f} is tolerated (gate.tolerance)"
        )
    return f"{name} is {value:.4f}, must be at least {threshold.value_threshold.lower_bound.value:.4f} ({KNOBS[name]})"
