"""The pipeline: one TFX node after another.

    >>> create_pipeline(config, data="data/sample", root="root")        # as it runs here
    >>> wire(config, Known(…), LiveModel(…))                            # as `pipeline.kubeflow` compiles it

Inputs are strings of paths; what each node does is in its component and, behind that, in `memefly`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.transform.component import Transform
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.caption_evaluator.component import CaptionEvaluator
from components.caption_example_gen.component import CaptionExampleGen
from components.caption_trainer.component import CaptionTrainer
from components.example_validator import drift
from components.example_validator.component import StrictExampleValidator
from components.image_features.component import ImageFeatures
from components.model_resolver.strategy import LatestBlessedOther
from components.serving_validator.component import ServingValidator
from components.tracking.component import Tracking
from components.version_pusher.component import VersionPusher
from memefly import encoders, layout, metadata_store, storage
from memefly.datasets import forgotten, records
from memefly.errors import ConfigError
from memefly.exported.manifest import MODEL_NAME, STATISTICS, newest_whole, read_manifest
from memefly.provenance import code_digest
from memefly.storage import Place
from pipeline.config import PipelineConfig
from pipeline.gate import eval_config
from pipeline.names import STORE

NAME = "memefly"

_TRAINER_CODE = (
    "components/caption_trainer", "components/image_features/artifact.py", "memefly/datasets/examples.py",
    "memefly/training", "memefly/metrics", "memefly/networks", "memefly/decoding.py",
    "memefly/decoding_config.py", "memefly/rules.py", "memefly/reranking.py", "memefly/subwords.py",
    "memefly/likelihood.py", "memefly/ngrams.py", "memefly/exported/captioner.py", "memefly/exported/manifest.py",
    "memefly/exported/warmup.py", "memefly/exported/parts.py", "memefly/safety", "memefly/encoders",
    "memefly/images.py", "memefly/spelling.py", "memefly/text.py",
)  # fmt: skip
_TRANSFORM_CODE = ("components/caption_transform", "memefly/spelling.py", "memefly/subwords.py", "memefly/text.py")


def create_pipeline(config: PipelineConfig, data: str, root: str) -> tfx_pipeline.Pipeline:
    """Wires `config` for the canonical data set `data`; everything it leaves behind is under `root`.

    What it needs to know of them is read here; nodes and ML Metadata are given names for them (`components.places`),
    so that both may lie elsewhere the next time.
    """
    known = Known(
        fingerprint=records.fingerprint(data),
        forgotten=forgotten.digest(root),
        schema=_by_content(config.data.schema_file, Path(root)),
        baseline=lambda key: _statistics_of_last(layout.of(root).versions, key),
    )

    def live(candidate: Channel) -> Resolver:
        """What the candidate is measured against: the latest blessed model but itself."""
        resolved = {"model": Channel(type=Model), "model_blessing": Channel(type=ModelBlessing)}
        return Resolver(strategy_class=LatestBlessedOther, candidate=candidate, **resolved)

    return wire(config, known, live, metadata_connection_config=metadata_store.connection(root))


@dataclass(frozen=True)
class Known:
    """What is known of DATA and ROOT when the pipeline is wired; caches are keyed by it."""

    fingerprint: str  # of what DATA holds
    forgotten: str  # a digest of what ROOT forgets
    schema: str  # URI of the Examples' schema
    baseline: Callable[[str], str]  # URI of what drift is measured against, for the name of this data; "": nothing


def wire(config: PipelineConfig, known: Known, live: Callable[[Channel], BaseNode], **of_pipeline: Any):
    """The pipeline; `live` makes the node that gives the live model, of the candidate's channel, and `of_pipeline` is
    what else TFX's Pipeline is to be told."""

    # Pictures and captions to Examples; bad records to the quarantine.
    example_gen = CaptionExampleGen(
        data="data://",
        fingerprint=known.fingerprint,
        shares=config.data.splits.model_dump(),
        hold_out_groups=config.data.hold_out_groups,
        max_pixels=config.data.max_pixels,
        max_quarantined=config.data.max_quarantined,
        cleaning=config.data.cleaning.with_safety(config.safety),
        root="root://",
        forgotten=known.forgotten,
    )

    # What the captions look like. Bytes of pictures have no statistics worth their time.
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"],
        stats_options=tfdv.StatsOptions(feature_allowlist=["image_id", "captions", "source", *drift.FEATURES]),
    )

    # The schema is code, reviewed and versioned, and not what the data happens to look like today.
    schema_gen = ImportSchemaGen(schema_file=known.schema)

    # Anomalies stop the run; how far the data is from eval, and from the last blessed model's, is told.
    example_validator = StrictExampleValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        drift=config.data.drift.model_dump(exclude_none=True),
        skew=config.data.skew.model_dump(exclude_none=True),
        stops=config.data.drift_stops,
        baseline=known.baseline(_key(example_gen)),
    )

    # Each distinct picture once through the frozen encoder, ever.
    image_features = ImageFeatures(examples=example_gen.outputs["examples"], encoder=config.encoder, store=STORE)

    # Vocabulary and token ids; from train alone, and eval is not even transformed.
    transform = Transform(
        examples=image_features.outputs["features"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="components.caption_transform.preprocessing.preprocessing_fn",
        custom_config={
            **config.text.model_dump(),
            "code": code_digest(*_TRANSFORM_CODE),
        },
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "val"]),
        disable_analyzer_cache=True,  # which no later run is given
        disable_statistics=True,  # StatisticsGen has them
    )
    transform.add_upstream_node(example_validator)  # no output of the one feeds the other, but order matters

    # The captioner; stops early on val.
    trainer = CaptionTrainer(
        features=image_features.outputs["features"],
        pictures=example_gen.outputs["examples"],
        run_fn="components.caption_trainer.run_fn.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["val"]),
        custom_config={
            **{
                section: getattr(config, section).model_dump()
                for section in ("devices", "encoder", "text", "network", "training", "decoding", "safety")
            },
            "splits": config.data.splits.model_dump(),
            "hold_out_groups": config.data.hold_out_groups,
            "cleaning": config.data.cleaning.model_dump(),
            "encoder_digest": encoders.digest(config.encoder),
            "root": "root://",
            "store": STORE,
            "code": code_digest(*_TRAINER_CODE),
        },
    ).with_id("Trainer")

    live_model = live(trainer.outputs["model"]).with_id("LiveModel")

    # The gate: raw pictures in, captions out, through the exported signature, on eval alone.
    evaluator = CaptionEvaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=live_model.outputs["model"],
        eval_config=eval_config(config.gate),
        example_splits=["eval"],
    ).with_id("Evaluator")

    # A fresh process loads the model and asks it for captions.
    serving_validator = ServingValidator(
        model=trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        pictures=config.serving.pictures,
        timeout=config.serving.timeout,
    )

    # Only what both have blessed becomes a version.
    pusher = VersionPusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_validator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        statistics=statistics_gen.outputs["statistics"],
        data=_key(example_gen),
        destination=f"root://serving/{MODEL_NAME}",
    )

    # Lineage and sample captions, for W&B and for the report.
    tracking = Tracking(
        examples=example_gen.outputs["examples"],
        features=image_features.outputs["features"],
        model=trainer.outputs["model"],
        evaluation=evaluator.outputs["evaluation"],
        model_blessing=evaluator.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        root="root://",
        store=STORE,
        pictures=config.report.pictures,
        groups=config.tracking.groups,
    )

    return tfx_pipeline.Pipeline(
        pipeline_name=NAME,
        pipeline_root="root://artifacts",
        components=[
            example_gen, statistics_gen, schema_gen, example_validator, image_features, transform, trainer, live_model,
            evaluator, serving_validator, pusher, tracking,
        ],
        enable_cache=True,
        **of_pipeline,
    )  # fmt: skip


def _key(example_gen: CaptionExampleGen) -> str:
    """Names the data and what is done to it."""
    return hashlib.sha256(json.dumps(example_gen.exec_properties, sort_keys=True).encode()).hexdigest()[:16]


def _statistics_of_last(folder: Place, key: str) -> str:
    """Those of what the newest pushed model that is whole was trained on; "" where there is none, or where that is the
    same data: nothing can have drifted, and what has not changed need not be asked again."""
    newest = newest_whole(folder)
    if newest is None or not (newest / STATISTICS).is_file() or read_manifest(newest).get("data") == key:
        return ""
    return f"root://serving/{MODEL_NAME}/{newest.name}/{STATISTICS}"


def _by_content(schema_file: str, root: Path) -> str:
    """A copy of the schema in the root, named by its content: the cache knows a schema by its path alone."""
    try:
        content = Path(schema_file).read_bytes()
    except OSError as error:
        raise ConfigError(f"data.schema: cannot read {schema_file} ({error.strerror})") from None
    inside = f"schemas/{hashlib.sha256(content).hexdigest()[:16]}/captions.pbtxt"
    copy = root / inside
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        storage.replace(copy, content)
    return f"root://{inside}"
