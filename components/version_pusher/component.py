"""VersionPusher: the contract.

    pusher = VersionPusher(
        model=…, model_blessing=…, infra_blessing=…, evaluation=…, statistics=…,
        destination="root/serving/captioner", data="…",
    )

Unlike TFX's Pusher, which copies file by file into the final folder: the version appears by one rename, a push that
was killed leaves nothing a server could pick up, a push that is repeated finds its own version and adds none, and
`memefly.json` gains what the Evaluator measured, and the version the statistics of what the model was trained on.
"""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.version_pusher import executor


class VersionPusherSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "destination": component_spec.ExecutionParameter(type=str),
        "data": component_spec.ExecutionParameter(type=str),  # what names the data, for `memefly.json`
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}


class VersionPusher(base_component.BaseComponent):
    """Pushes to DESTINATION/<Unix time>. The artifact says `pushed` (0 or 1), `pushed_destination` and
    `pushed_version`."""

    SPEC_CLASS = VersionPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: channel.BaseChannel,
        model_blessing: channel.BaseChannel,
        infra_blessing: channel.BaseChannel,
        evaluation: channel.BaseChannel,
        statistics: channel.BaseChannel,
        destination: str,
        data: str,
    ):
        super().__init__(
            VersionPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                evaluation=evaluation,
                statistics=statistics,
                destination=destination,
                data=data,
                pushed_model=channel.Channel(type=standard_artifacts.PushedModel),
            )
        )
