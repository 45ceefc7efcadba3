"""ServingValidator: the contract.

    validator = ServingValidator(model=trainer.outputs["model"], examples=example_gen.outputs["examples"])

Emits TFX's InfraBlessing, as InfraValidator does, which needs Docker or Kubernetes. This is not TensorFlow Serving: it
proves that a fresh process loads the SavedModel and that the signatures answer as the contract says.
"""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.serving_validator import executor
from memefly.provenance import code_digest


class ServingValidatorSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "code": component_spec.ExecutionParameter(type=str),  # a digest of the sources, for the cache
        "pictures": component_spec.ExecutionParameter(type=int),
        "timeout": component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class ServingValidator(base_component.BaseComponent):
    """Blesses a model that serves `pictures` pictures of the eval split as it should within `timeout` seconds."""

    SPEC_CLASS = ServingValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self, model: channel.BaseChannel, examples: channel.BaseChannel, pictures: int = 8, timeout: int = 300
    ):
        super().__init__(
            ServingValidatorSpec(
                code=code_digest("components/serving_validator"),
                model=model,
                examples=examples,
                pictures=pictures,
                timeout=timeout,
                blessing=channel.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
