"""StrictExampleValidator: the contract is that of TFX's ExampleValidator, with drift and skew beside it.

    validator = StrictExampleValidator(
        statistics=…, schema=…, drift={"words": 0.3}, skew={"words": 0.3}, baseline="root/…/statistics.pb"
    )

`drift.json` in its output says how far the training captions are from those of the last blessed model, and how far eval
is from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.example_validator import executor
from memefly.provenance import code_digest


class StrictExampleValidatorSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "exclude_splits": component_spec.ExecutionParameter(type=str),
        "drift": component_spec.ExecutionParameter(type=str),
        "skew": component_spec.ExecutionParameter(type=str),
        "stops": component_spec.ExecutionParameter(type=int),
        "baseline": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)}


class StrictExampleValidator(base_component.BaseComponent):
    """An ExampleValidator that fails on what contradicts the schema; TFX's own writes it down and goes on. Drift and
    skew are written down, and fail it with `stops`."""

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        statistics: channel.BaseChannel,
        schema: channel.BaseChannel,
        drift: Mapping[str, float] | None = None,
        skew: Mapping[str, float] | None = None,
        stops: bool = False,
        baseline: str = "",
    ):
        """`drift` and `skew`: the Jensen-Shannon divergence of a feature that is an anomaly, by its name. `baseline`:
        the statistics of what the last blessed model was trained on, if there is one."""
        super().__init__(
            StrictExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                exclude_splits="[]",
                drift=json.dumps(dict(drift or {})),
                skew=json.dumps(dict(skew or {})),
                stops=int(stops),
                baseline=baseline,
                code=code_digest("components/example_validator"),
                anomalies=channel.Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )
