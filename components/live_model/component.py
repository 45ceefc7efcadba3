"""LiveModel: the contract.

live = LiveModel(destination="root://serving/captioner")
"""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.live_model import executor
from memefly.provenance import code_digest


class LiveModelSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "destination": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict = {}
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class LiveModel(base_component.BaseComponent):
    """The newest whole version in a folder of pushed models; a model without files where there is none.

    What it makes changes with that folder, which is none of its parameters: it is not to be cached."""

    SPEC_CLASS = LiveModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, destination: str):
        super().__init__(
            LiveModelSpec(
                destination=destination,
                code=code_digest("components/live_model", "memefly/exported/manifest.py"),
                model=channel.Channel(type=standard_artifacts.Model),
            )
        )
