"""ImageFeatures' executor: Beam pipelines that find which pictures are in several splits, fill the store, and look it
over.

Features go to the store and stay there, a quarter of a mebibyte a picture: what was computed before a crash stays
computed, and no stage behind this one carries them. Pictures pass through no shuffle either, only their digests do: a
runner in memory would hold all of them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.image_features import artifact
from components.image_features.chunks import ReadExamples
from memefly import encoders, storage
from memefly.datasets.examples import read
from memefly.encoders.feature_store import FLIPPED, FeatureStore
from memefly.encoders.moments import Moments
from memefly.errors import DataError, PipelineError
from memefly.storage import Place

log = logging.getLogger("memefly.features")

_NAMESPACE = "image_features"
_MOMENTS = "moments"
_LEFT_OUT = ("image", "words", "caption_words")  # what nobody behind it reads
_TELL_EVERY = 15.0  # seconds


class EncoderHandler(ModelHandler[tuple[bytes, bool], np.ndarray, encoders.Encoder]):
    """Lets RunInference load an encoder once a process and hand it batches of (encoded picture, mirrored or not)."""

    def __init__(self, config: encoders.EncoderConfig):
        self._config = config
        self._told, self._done = time.monotonic(), 0

    def load_model(self) -> encoders.Encoder:
        return encoders.load(self._config)

    def batch_elements_kwargs(self):
        # Both ends fixed: Beam would otherwise probe batch sizes, and each new one is a shape to trace and tune for.
        return {"min_batch_size": self._config.batch_size, "max_batch_size": self._config.batch_size}

    def run_inference(
        self, batch: Sequence[tuple[bytes, bool]], model: encoders.Encoder, inference_args=None
    ) -> Iterable[np.ndarray]:
        data, mirrored = zip(*batch)
        features = model.encode_bytes(data, mirrored)
        self._done += len(batch)
        if time.monotonic() - self._told > _TELL_EVERY:
            self._told = time.monotonic()
            log.info("%d pictures encoded", self._done)
        return features


class Lookup(beam.DoFn):
    """(split, serialized Example) to keys in the store with what is to be encoded for them, (picture, mirrored or not),
    where the store lacks it; what `elsewhere` gives to another split is passed over."""

    def __init__(self, store: FeatureStore, flipping: frozenset[str], elsewhere: Mapping[str, str]):
        self._store, self._flipping, self._elsewhere = store, flipping, elsewhere

    def process(self, element: tuple[str, bytes]):
        split, serialized = element
        for key, picture in _identify(serialized, split in self._flipping):
            if self._elsewhere.get(key, split) != split:
                continue
            if self._store.get(key) is None:
                yield key, picture
            else:
                Metrics.counter(_NAMESPACE, "reused").inc()


class Put(beam.DoFn):
    def __init__(self, store: FeatureStore):
        self._store = store

    def process(self, element: tuple[str, np.ndarray]):
        image_id, features = element
        self._store.put(image_id, features)
        Metrics.counter(_NAMESPACE, "computed").inc()
        yield image_id


class Refer(beam.DoFn):
    """A serialized Example to the same without its picture, whose features are in the store; of train to its `Moments`
    too."""

    def __init__(self, store: FeatureStore, split: str, flip: bool):
        self._store, self._split, self._flip = store, split, flip

    def process(self, serialized: bytes):
        example = tf.train.Example.FromString(serialized)
        feature = example.features.feature
        image_id = feature["image_id"].bytes_list.value[0].decode()
        features = self._read(image_id)
        if self._flip:
            self._read(image_id + FLIPPED)
        if self._split == "train":
            if not np.isfinite(features).all():
                raise DataError(
                    f"the features of picture {image_id} are not all finite numbers: the encoder gives more than "
                    f"float16 holds, or its weights are broken; remove {self._store.folder} and take other weights"
                )
            yield beam.pvalue.TaggedOutput(_MOMENTS, (features.shape, Moments.of(features)))
        for name in _LEFT_OUT:
            del feature[name]
        yield example.SerializeToString(deterministic=True)

    def _read(self, key: str) -> np.ndarray:
        features = self._store.get(key)
        if features is None:
            raise PipelineError(
                "ImageFeatures", f"{self._store.path(key)} was written and is gone or damaged; check the disk"
            )
        return features


class AddUp(beam.CombineFn):
    """(shape, `Moments`) of pictures to their sum; None of no picture."""

    def create_accumulator(self):
        return None

    def add_input(self, accumulator, element):
        return self.merge_accumulators((accumulator, element))

    def merge_accumulators(self, accumulators):
        there = [one for one in accumulators if one]
        if not there:
            return None
        (shape, total), *others = there
        for another, moments in others:
            if another != shape:
                raise DataError(f"features of one encoder have shapes {shape} and {another}; remove its store")
            total = total + moments
        return shape, total

    def extract_output(self, accumulator):
        return accumulator


def _to_json(element: tuple[tuple[int, int, int], Moments]) -> str:
    shape, moments = element
    mean, std = moments.mean_and_std()
    return json.dumps({"shape": shape, "mean": mean.tolist(), "std": std.tolist()})


def _identify(serialized: bytes, flip: bool) -> Iterator[tuple[str, tuple[bytes, bool]]]:
    """Keys in the store and what to encode for them: (image_id, (picture, mirrored or not))."""
    feature = tf.train.Example.FromString(serialized).features.feature
    image_id, image = feature["image_id"].bytes_list.value[0].decode(), feature["image"].bytes_list.value[0]
    yield image_id, (image, False)
    if flip:
        yield image_id + FLIPPED, (image, True)


class Executor(base_beam_executor.BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """Fills the store, and writes the Examples of each split without their pictures. Raises `DataError` where a
        split is empty, before anything is encoded: nothing could be trained or judged on it."""
        self._log_startup(input_dict, output_dict, exec_properties)
        source = artifact_utils.get_single_instance(input_dict["examples"])
        target = artifact_utils.get_single_instance(output_dict["features"])
        splits = artifact_utils.decode_split_names(source.split_names)
        config = encoders.EncoderConfig.model_validate_json(exec_properties["encoder"])
        store = FeatureStore(exec_properties["store"], exec_properties["encoder_digest"], config.storage)

        if empty := [split for split in splits if _is_empty(artifact_utils.get_split_uri([source], split))]:
            raise DataError(
                f"split {' and '.join(empty)}: it has no pictures (see data.splits, and the data set's own "
                "splits); nothing was encoded"
            )
        folder = storage.at(target.uri)
        elsewhere = self._in_several(source, splits, config, folder)
        computed, reused = self._fill(source, splits, config, store, elsewhere)
        said = folder / "moments"
        with self._make_beam_pipeline() as pipeline:
            for split in splits:
                referred = (
                    pipeline
                    | f"Read[{split}]" >> ReadExamples(_folders(source, [split]))
                    | f"Serialized[{split}]" >> beam.Values()
                    | f"Refer[{split}]"
                    >> beam.ParDo(Refer(store, split, _flips(config, split))).with_outputs(_MOMENTS, main="examples")
                )
                (
                    referred.examples
                    | f"Write[{split}]" >> beam.io.WriteToTFRecord(str(folder / f"Split-{split}" / "data_tfrecord"))
                )
                if split == "train":
                    (
                        referred[_MOMENTS]
                        | "Moments" >> beam.CombineGlobally(AddUp())
                        | "MomentsToJson" >> beam.Map(_to_json)
                        | "WriteMoments" >> beam.io.WriteToText(str(said), shard_name_template="")
                    )
        told = json.loads(said.read_text(encoding="utf-8"))
        said.unlink()
        artifact.write(
            target.uri,
            artifact.Told(exec_properties["encoder_digest"], tuple(told["shape"]), told["mean"], told["std"]),
        )
        target.split_names = source.split_names
        examples_utils.set_payload_format(target, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        target.set_int_custom_property("computed", computed)
        target.set_int_custom_property("reused", reused)

    def _in_several(self, source, splits, config: encoders.EncoderConfig, folder: Place) -> dict[str, str]:
        """By the key of a picture that is in several splits, as a meme's template is, the one that computes it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "in-several"
        with self._make_beam_pipeline() as pipeline:
            (
                pipeline
                | "Read" >> ReadExamples(_folders(source, splits))
                | "Keys" >> beam.FlatMap(_keys, frozenset(split for split in splits if _flips(config, split)))
                | "Splits" >> beam.GroupByKey()
                | "First" >> beam.FlatMap(_first_of_several, splits)
                | "WriteKeys" >> beam.io.WriteToText(str(path), shard_name_template="")
            )
        found = dict(line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
        path.unlink()
        return found

    def _fill(
        self, source, splits, config: encoders.EncoderConfig, store: FeatureStore, elsewhere: Mapping[str, str]
    ) -> tuple[int, int]:
        """Computes what the store lacks; how many pictures, mirrored ones too, were computed and how many it had."""
        pipeline = self._make_beam_pipeline()
        flipping = frozenset(split for split in splits if _flips(config, split))
        (
            pipeline
            | "Read" >> ReadExamples(_folders(source, splits))
            | "Lookup" >> beam.ParDo(Lookup(store, flipping, elsewhere))
            | "Encode" >> RunInference(KeyedModelHandler(EncoderHandler(config)))
            | "Put" >> beam.ParDo(Put(store))
        )
        result = pipeline.run()
        result.wait_until_finish()
        return _counter(result, "computed"), _counter(result, "reused")


def _keys(element: tuple[str, bytes], flipping: frozenset[str]) -> Iterator[tuple[str, str]]:
    split, serialized = element
    return ((key, split) for key, _ in _identify(serialized, split in flipping))


def _first_of_several(element: tuple[str, Iterable[str]], splits: Sequence[str]) -> Iterator[str]:
    key, found = element[0], set(element[1])
    if len(found) > 1:
        yield f"{key}\t{min(found, key=list(splits).index)}"


def _flips(config: encoders.EncoderConfig, split: str) -> bool:
    return config.flip and split == "train"


def _is_empty(folder: str) -> bool:
    return next(iter(read(folder)), None) is None


def _folders(examples, splits: Sequence[str]) -> dict[str, str]:
    return {split: artifact_utils.get_split_uri([examples], split) for split in splits}


def _counter(result, name: str) -> int:
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(_NAMESPACE).with_name(name))
    return sum(counter.committed for counter in found["counters"])
