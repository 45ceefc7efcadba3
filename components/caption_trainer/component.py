"""CaptionTrainer: the contract.

    trainer = CaptionTrainer(features=…, pictures=…, run_fn=…, examples=…, transform_graph=…, …)

TFX's Trainer, and besides: `features`, what ImageFeatures left, says what lies in the feature store, which is read
while it trains; `pictures`, what CaptionExampleGen left, has the pictures, for fine-tuning and for samples of captions.
`custom_config` names the store, and reaches `run_fn` with where both are: `features`, a folder, and `pictures`, folders
by split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import channel, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.caption_trainer import executor


class CaptionTrainerSpec(component_spec.ComponentSpec):
    PARAMETERS = standard_component_specs.TrainerSpec.PARAMETERS
    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        "features": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "pictures": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = standard_component_specs.TrainerSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.TrainerSpec.TYPE_ANNOTATION


class CaptionTrainer(base_component.BaseComponent):
    SPEC_CLASS = CaptionTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        run_fn: str,
        examples: channel.BaseChannel,
        transform_graph: channel.BaseChannel,
        schema: channel.BaseChannel,
        features: channel.BaseChannel,
        pictures: channel.BaseChannel,
        train_args: trainer_pb2.TrainArgs,
        eval_args: trainer_pb2.EvalArgs,
        custom_config: Mapping[str, Any],
    ):
        super().__init__(
            CaptionTrainerSpec(
                run_fn=run_fn,
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                features=features,
                pictures=pictures,
                train_args=train_args,
                eval_args=eval_args,
                custom_config=json_utils.dumps(dict(custom_config)),
                model=channel.Channel(type=standard_artifacts.Model),
                model_run=channel.Channel(type=standard_artifacts.ModelRun),
            )
        )
