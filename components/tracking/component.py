"""Tracking: the contract.

tracking = Tracking(
    examples=…, features=…, model=…, evaluation=…, model_blessing=…, pushed_model=…, root="root", pictures=60
)
"""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, channel, component_spec, standard_artifacts

from components.tracking import executor
from memefly.provenance import code_digest


class Gallery(artifact.Artifact):
    """A folder with `gallery.json`: pictures of the eval split and what `memefly.report.gallery` tells of them."""

    TYPE_NAME = "memefly.Gallery"  # Kubeflow wants a dot


class TrackingSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "code": component_spec.ExecutionParameter(type=str),  # a digest of the sources, for the cache
        "root": component_spec.ExecutionParameter(type=str),
        "store": component_spec.ExecutionParameter(type=str),  # of features
        "pictures": component_spec.ExecutionParameter(type=int),
        "groups": component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "features": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {"gallery": component_spec.ChannelParameter(type=Gallery)}


class Tracking(base_component.BaseComponent):
    """Makes the gallery, of `pictures` eval pictures, and tells W&B what came of the run; how it confuses memes'
    templates, of the `groups` commonest."""

    SPEC_CLASS = TrackingSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: channel.BaseChannel,
        features: channel.BaseChannel,
        model: channel.BaseChannel,
        evaluation: channel.BaseChannel,
        model_blessing: channel.BaseChannel,
        pushed_model: channel.BaseChannel,
        root: str,
        store: str,
        pictures: int = 60,
        groups: int = 30,
    ):
        super().__init__(
            TrackingSpec(
                code=code_digest(
                    "components/tracking",
                    "memefly/datasets/examples.py",
                    "memefly/tracking",
                    "memefly/report/gallery.py",
                    "memefly/metrics/confusion.py",
                ),
                examples=examples,
                features=features,
                model=model,
                evaluation=evaluation,
                model_blessing=model_blessing,
                pushed_model=pushed_model,
                root=root,
                store=store,
                pictures=pictures,
                groups=groups,
                gallery=channel.Channel(type=Gallery),
            )
        )
