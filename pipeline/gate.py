"""The gate as TFMA's Evaluator reads it.

>>> eval_config(config.gate)
"""

from __future__ import annotations

import json

from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2

from components.caption_metrics.names import BASELINE, CANDIDATE, DISTANCES, FORESIGHT, SLICES
from memefly.provenance import code_digest
from pipeline.config import GateConfig

_METRIC_CODE = (
    *("components/caption_metrics", "components/caption_evaluator", "memefly/datasets/examples.py"),
    *("memefly/metrics", "memefly/likelihood.py", "memefly/spelling.py", "memefly/text.py"),
)
_EQUAL = 1e-9  # a model that is as good as its bound passes, whatever the last bits say


def eval_config(gate: GateConfig) -> config_pb2.EvalConfig:
    """Both models through their `evaluate` signature, all slices, and a threshold for every rule."""
    model = {"signature_name": "evaluate", "prediction_key": "caption", "label_key": "captions"}
    model |= {"model_type": "tf_generic"}
    metrics = {
        "class_name": "CaptionMetrics",
        "module": "components.caption_metrics.captions",
        "config": json.dumps(
            {
                "min_pictures": gate.min_pictures,
                "foresight": bool(gate.metrics() & set(FORESIGHT)),
                "distances": bool(gate.metrics() & set(DISTANCES)),
                "code": code_digest(*_METRIC_CODE),
            }
        ),
    }
    return json_format.ParseDict(
        {
            "model_specs": [{"name": CANDIDATE, **model}, {"name": BASELINE, "is_baseline": True, **model}],
            "slicing_specs": [{}, *({"feature_keys": [feature]} for feature in SLICES)],
            "metrics_specs": [{"metrics": [metrics], "per_slice_thresholds": _thresholds(gate)}],
        },
        config_pb2.EvalConfig(),
    )


def _thresholds(gate: GateConfig) -> dict:
    """Those of all pictures and those of slices, by metric. TFMA drops what is about a live model where there is
    none."""
    found: dict[str, list[dict]] = {}

    def add(metric: str, threshold: dict, feature: str | None = None) -> None:
        slicing = {"feature_keys": [feature]} if feature else {}
        found.setdefault(metric, []).append({"slicing_specs": [slicing], "threshold": threshold})

    def at_least(bound: float) -> dict:
        return {"lower_bound": bound - _EQUAL}

    for metric in sorted(set(gate.floors) | set(gate.ceilings)):
        bounds = at_least(gate.floors[metric]) if metric in gate.floors else {}
        if metric in gate.ceilings:
            bounds |= {"upper_bound": gate.ceilings[metric] + _EQUAL}
        add(metric, {"value_threshold": bounds})
    for metric, tolerance in gate.regressions.items():
        add(f"{metric}_regression", {"change_threshold": _change("LOWER_IS_BETTER", tolerance + _EQUAL)})
    for metric, least in gate.improvements.items():
        add(f"{metric}_improvement", {"change_threshold": _change("HIGHER_IS_BETTER", max(least, 2 * _EQUAL) - _EQUAL)})
    for feature, rules in gate.slices.items():
        for metric, bound in rules.floors.items():
            add(f"{metric}_upper", {"value_threshold": at_least(bound)}, feature)
        for metric, tolerance in rules.regressions.items():
            change = _change("LOWER_IS_BETTER", tolerance + _EQUAL)
            add(f"{metric}_sure_regression", {"change_threshold": change}, feature)
    return {metric: {"thresholds": thresholds} for metric, thresholds in found.items()}


def _change(direction: str, absolute: float) -> dict:
    return {"direction": direction, "absolute": absolute}
