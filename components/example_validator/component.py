"""StrictExampleValidator: the contract is that of TFX's ExampleValidator.

validator = StrictExampleValidator(statistics=…, schema=…)
"""

from __future__ import annotations

from tfx.components.example_validator import component
from tfx.dsl.components.base import executor_spec

from components.example_validator import executor


class StrictExampleValidator(component.ExampleValidator):
    """An ExampleValidator whose component fails on any anomaly; TFX's own writes it down and goes on."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
