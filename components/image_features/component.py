"""ImageFeatures: the contract.

features = ImageFeatures(examples=example_gen.outputs["examples"], encoder=EncoderConfig(), store="root/features")
"""

from __future__ import annotations

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.image_features import executor
from memefly import encoders
from memefly.provenance import code_digest


class ImageFeaturesSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "encoder": component_spec.ExecutionParameter(type=str),  # EncoderConfig as JSON
        "encoder_digest": component_spec.ExecutionParameter(type=str),  # what the cache is keyed by
        "store": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),  # a digest of what writes the artifact, for the cache
    }
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"features": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class ImageFeatures(base_beam_component.BaseBeamComponent):
    """Brings the features of every picture into the store, of mirrored ones of `train` too if wanted, and writes the
    Examples without their pictures; what the features are says `artifact.read`.

    The artifact carries the counts `computed` and `reused` (distinct pictures) as custom properties.
    """

    SPEC_CLASS = ImageFeaturesSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, examples: channel.BaseChannel, encoder: encoders.EncoderConfig, store: str):
        super().__init__(
            ImageFeaturesSpec(
                examples=examples,
                encoder=encoder.model_dump_json(),
                encoder_digest=encoders.digest(encoder),
                store=store,
                code=code_digest("components/image_features", "memefly/encoders/moments.py"),
                features=channel.Channel(type=standard_artifacts.Examples),
            )
        )
