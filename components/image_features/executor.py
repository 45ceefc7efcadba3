"""ImageFeatures' executor: two Beam pipelines, one that fills the store and one that reads it.

Filling goes through the store and not through the pipeline, so that what was computed before a crash stays computed,
and so that no shuffle ever carries features: a quarter of a mebibyte a picture would have to pass through it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from memefly import encoders
from memefly.errors import PipelineError
from memefly.feature_store import FeatureStore

log = logging.getLogger("memefly.features")

_MISSING, _REUSED = "missing", "reused"
_NAMESPACE = "image_features"
_TELL_EVERY = 15.0  # seconds


class EncoderHandler(ModelHandler[bytes, np.ndarray, encoders.Encoder]):
    """Lets RunInference load an encoder once a process and hand it batches of encoded pictures."""

    def __init__(self, config: encoders.EncoderConfig):
        self._config = config
        self._told, self._done = time.monotonic(), 0

    def load_model(self) -> encoders.Encoder:
        return encoders.load(self._config)

    def batch_elements_kwargs(self):
        # Both ends fixed: Beam would otherwise probe batch sizes, and each new one is a shape to trace and tune for.
        return {"min_batch_size": self._config.batch_size, "max_batch_size": self._config.batch_size}

    def run_inference(
        self, batch: Sequence[bytes], model: encoders.Encoder, inference_args=None
    ) -> Iterable[np.ndarray]:
        features = model.encode_bytes(list(batch))
        self._done += len(batch)
        if time.monotonic() - self._told > _TELL_EVERY:
            self._told = time.monotonic()
            log.info("%d pictures encoded", self._done)
        return features


class Lookup(beam.DoFn):
    """(image_id, image) to those that the store lacks; those that it has to `reused`."""

    def __init__(self, store: FeatureStore):
        self._store = store

    def process(self, element: tuple[str, Iterable[bytes]]):
        image_id, (image, *_) = element
        if self._store.get(image_id) is None:
            yield image_id, image
        else:
            Metrics.counter(_NAMESPACE, "reused").inc()
            yield beam.pvalue.TaggedOutput(_REUSED, image_id)


class Put(beam.DoFn):
    def __init__(self, store: FeatureStore):
        self._store = store

    def process(self, element: tuple[str, np.ndarray]):
        image_id, features = element
        self._store.put(image_id, features)
        Metrics.counter(_NAMESPACE, "computed").inc()
        yield image_id


class Attach(beam.DoFn):
    """A serialized Example to the same with its features."""

    def __init__(self, store: FeatureStore):
        self._store = store

    def process(self, serialized: bytes):
        example = tf.train.Example.FromString(serialized)
        feature = example.features.feature
        image_id = feature["image_id"].bytes_list.value[0].decode()
        features = self._store.get(image_id)
        if features is None:
            raise PipelineError(
                "ImageFeatures", f"{self._store.path(image_id)} was written and is gone or damaged; check the disk"
            )
        feature["features"].bytes_list.value.append(features.tobytes())
        feature["features_shape"].int64_list.value.extend(features.shape)
        yield example.SerializeToString(deterministic=True)


def _identify(serialized: bytes) -> tuple[str, bytes]:
    feature = tf.train.Example.FromString(serialized).features.feature
    return feature["image_id"].bytes_list.value[0].decode(), feature["image"].bytes_list.value[0]


class Executor(base_beam_executor.BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        source = artifact_utils.get_single_instance(input_dict["examples"])
        target = artifact_utils.get_single_instance(output_dict["features"])
        splits = artifact_utils.decode_split_names(source.split_names)
        config = encoders.EncoderConfig.model_validate_json(exec_properties["encoder"])
        store = FeatureStore(exec_properties["store"], exec_properties["encoder_digest"])

        computed, reused = self._fill(source, splits, config, store)
        with self._make_beam_pipeline() as pipeline:
            for split in splits:
                (
                    pipeline
                    | f"Read[{split}]" >> beam.io.ReadFromTFRecord(_pattern(source, split))
                    | f"Attach[{split}]" >> beam.ParDo(Attach(store))
                    # Uncompressed: float16 hardly shrinks, and deflating it costs more than reading it.
                    | f"Write[{split}]"
                    >> beam.io.WriteToTFRecord(str(Path(target.uri) / f"Split-{split}" / "data_tfrecord"))
                )
        target.split_names = source.split_names
        examples_utils.set_payload_format(target, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        target.set_int_custom_property("computed", computed)
        target.set_int_custom_property("reused", reused)

    def _fill(self, source, splits, config: encoders.EncoderConfig, store: FeatureStore) -> tuple[int, int]:
        """Computes what the store lacks; how many pictures were computed and how many it had."""
        pipeline = self._make_beam_pipeline()
        pictures = [
            pipeline
            | f"Read[{split}]" >> beam.io.ReadFromTFRecord(_pattern(source, split))
            | f"Identify[{split}]" >> beam.Map(_identify)
            for split in splits
        ] | beam.Flatten()
        looked_up = (
            pictures
            | "Distinct" >> beam.GroupByKey()
            | "Lookup" >> beam.ParDo(Lookup(store)).with_outputs(_REUSED, main=_MISSING)
        )
        (
            looked_up[_MISSING]
            | "Encode" >> RunInference(KeyedModelHandler(EncoderHandler(config)))
            | "Put" >> beam.ParDo(Put(store))
        )
        result = pipeline.run()
        result.wait_until_finish()
        return _counter(result, "computed"), _counter(result, "reused")


def _pattern(examples, split: str) -> str:
    return str(Path(artifact_utils.get_split_uri([examples], split)) / "*")


def _counter(result, name: str) -> int:
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(_NAMESPACE).with_name(name))
    return sum(counter.committed for counter in found["counters"])
