"""The exported model: a SavedModel from picture bytes to captions, and the same thing read back.

    >>> export(captioner, folder, manifest)
    >>> model = load(folder)
    >>> model.caption([picture.data])            # [[Caption("a cat on a mat", -0.41), …]]

Signatures (B pictures, K captions each, T tokens, h x w positions):

- `serving_default`: image_bytes string (B,) to caption string (B,), score float32 (B,), captions string (B, K),
  scores float32 (B, K), best first, and error string (B,), empty but for bytes that the graph cannot decode: these get
  empty captions with scores below -1e6, and the other pictures of the batch theirs;
- `decode`: as `serving_default`, and with it every knob of decoding as a value a picture, (B,) or (1,) for all of them:
  beam, groups, diversity, max_length, min_length, length_penalty, block_ngram, temperature, top_k, top_p, seed. Those
  left out have the values in `memefly.json`, which are the signature's defaults too. (TensorFlow Serving fills defaults
  in from 2.14 on; where it batches requests, clients have to send all knobs, one a picture, since what it puts together
  must have one length.) K is the largest `beam`; places beyond a picture's own hold "" and a score below -1e6;
- `explain`: image_bytes string (B,) to tokens string (B, T), alphas float32 (B, T, h, w) of the best caption; no tokens
  and zeros where there is no picture;
- `evaluate`: as `serving_default`, but its input is called `image`, after the feature of the Examples.

Beside `saved_model.pb`: the vocabulary among the assets, warm-up requests where TensorFlow Serving looks for them
(`assets.extra/tf_serving_warmup_requests`, a TFRecord of PredictionLog), and `memefly.json`, which says what the model
is: configuration, digests, metrics, commit.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image
from pydantic import ValidationError
from tensorflow.core.protobuf import saved_model_pb2

from memefly import images, networks, text
from memefly.decoding import KNOBS, DecodingConfig, dangling_ids, decode
from memefly.errors import ModelError
from memefly.inference_graph import InferenceGraph
from memefly.networks import Network, NetworkConfig
from memefly.standardize import Standardizer

if TYPE_CHECKING:
    from memefly.lite import LiteModel

MANIFEST = "memefly.json"
WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
MODEL_NAME = "captioner"
SIGNATURES = ("serving_default", "decode", "explain", "evaluate")
NO_SCORE = -1e9  # of a place that holds no caption
NOT_A_PICTURE = f"not decoded: expected a JPEG, PNG, BMP or GIF, whole, of at most {images.MAX_PIXELS:,} pixels"
# Of what serves a model: deploy/tf-serving/batching_parameters.txt and `memefly serve`. Eight brought nothing under
# load (`benchmarks.serving`), and would take half as long again to warm up.
LARGEST_BATCH = 4
WARMUP_BATCHES = range(1, LARGEST_BATCH + 1)


class _Lines(tf.lookup.TextFileInitializer):
    """A table's name in the graph is its initializer's, which would be the file's path on the machine that trained."""

    _shared_name = "vocabulary"


class Captioner(tf.Module):
    """Picture bytes to captions, all in one graph."""

    def __init__(
        self,
        encoder: InferenceGraph,
        standardizer: Standardizer,
        network: Network,
        vocabulary_file: str | Path,
        decoding: DecodingConfig,
    ):
        super().__init__(name="captioner")
        self.encoder_state = encoder.weights
        self.standardizer, self.network = standardizer, network
        self._decoding = decoding
        self.image_size, self.feature_shape = tuple(encoder.input_shape[1:3]), tuple(encoder.output_shape[1:])
        self._dangling = dangling_ids(text.Vocabulary.load(vocabulary_file))
        # Pictures float32 (B, H, W, 3) in [-1, 1] to features float16 (B, h, w, D): what `memefly.reduced` makes small.
        self.encode = encoder.function
        # Attached to this object, the table and its file are saved with it and initialised by every loader.
        line_to_word = _Lines(
            str(vocabulary_file), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
            tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        )  # fmt: skip
        self.words = tf.lookup.StaticHashTable(line_to_word, default_value=text.UNKNOWN)

    def _spell(self, ids: tf.Tensor) -> tf.Tensor:
        return self.words.lookup(tf.cast(ids, tf.int64))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )  # one trace, shared by all signatures
    def features(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String (B,) to float16 (B, h, w, D), as ImageFeatures computes and stores them, and bool (B,): whether it
        was a picture."""
        pictures, fit = images.preprocess_each(image_bytes, self.image_size)
        return self.encode(pictures), fit

    def _decode(self, image_bytes, **arguments):
        features, fit = self.features(image_bytes)
        return decode(self.network, self.standardizer(features), self._decoding, self._dangling, **arguments), fit

    def _caption(self, image_bytes, overrides=None):
        decoded, fit = self._decode(image_bytes, overrides=overrides)
        scores = tf.where(fit[:, tf.newaxis], decoded.scores, NO_SCORE)  # (B, K)
        captions = tf.where(scores > -1e6, text.decode_graph(decoded.tokens, self._spell), "")
        return {
            "caption": captions[:, 0],
            "score": scores[:, 0],
            "captions": captions,
            "scores": scores,
            "error": tf.where(fit, "", NOT_A_PICTURE),
        }

    def _caption_with(self, image_bytes, knobs):
        pictures = tf.shape(image_bytes)
        return self._caption(image_bytes, {name: tf.broadcast_to(value, pictures) for name, value in knobs.items()})

    def _explain(self, image_bytes):
        decoded, fit = self._decode(image_bytes, with_alphas=True)
        tokens = tf.where(fit[:, tf.newaxis], decoded.tokens[:, 0], text.PAD_ID)  # (B, T)
        alphas = tf.where(fit[:, tf.newaxis, tf.newaxis], decoded.alphas[:, 0], 0.0)  # (B, T, L)
        h, w, _ = self.feature_shape
        shape = tf.concat([tf.shape(tokens), [h, w]], axis=0)
        words = tf.where(tf.equal(tokens, text.PAD_ID), "", self._spell(tokens))
        return {"tokens": words, "alphas": tf.reshape(alphas, shape)}

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        def function(method, argument):
            return tf.function(
                method, input_signature=[tf.TensorSpec([None], tf.string, name=argument)], autograph=False
            )

        caption = function(lambda image_bytes: self._caption(image_bytes), "image_bytes")  # one trace for two
        default = {name: tf.constant([getattr(self._decoding, name)], kind) for name, kind in KNOBS.items()}
        kinds = {name: tf.TensorSpec([None], kind, name=name) for name, kind in KNOBS.items()}

        # Written out: TensorFlow takes a signature's names and defaults from those of a function's arguments.
        def caption_with(
            image_bytes,
            beam=default["beam"],
            groups=default["groups"],
            diversity=default["diversity"],
            max_length=default["max_length"],
            min_length=default["min_length"],
            length_penalty=default["length_penalty"],
            block_ngram=default["block_ngram"],
            temperature=default["temperature"],
            top_k=default["top_k"],
            top_p=default["top_p"],
            seed=default["seed"],
        ):
            knobs = {k: v for k, v in locals().items() if k in KNOBS}
            return self._caption_with(image_bytes, knobs)

        return {
            "serving_default": caption,
            "decode": tf.function(
                caption_with,
                input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes"), *kinds.values()],
                autograph=False,
            ),
            "explain": function(lambda image_bytes: self._explain(image_bytes), "image_bytes"),
            "evaluate": function(lambda image: caption(image), "image"),
        }


def export(captioner: Captioner, folder: str | Path, manifest: dict) -> None:
    """Writes the SavedModel with its manifest and warm-up requests; `manifest` gains the digest of the weights."""
    folder = Path(folder)
    tf.saved_model.save(captioner, str(folder), signatures=captioner.signatures())
    write_warmup(folder, warmup_pictures())
    write_manifest(folder, {**manifest, "signatures": list(SIGNATURES), "digest": model_digest(folder)})


def model_digest(folder: Path) -> str:
    """SHA-256 over the weights of a SavedModel, the numbers in its graph, and its vocabulary; names and times do not
    enter."""
    content = hashlib.sha256()
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    for name in sorted(reader.get_variable_to_shape_map()):
        value = reader.get_tensor(name)
        if isinstance(value, np.ndarray):  # the object graph is a string: it names objects, and says nothing of them
            content.update(name.encode() + value.tobytes())
    for constant in sorted(_constants(folder)):
        content.update(constant)
    for asset in sorted((folder / "assets").iterdir()):
        content.update(asset.name.encode() + asset.read_bytes())
    return content.hexdigest()


def _constants(folder: Path) -> list[bytes]:
    """The arrays of floats in the functions of a SavedModel, among them the encoder's biases."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    tensors = (n.attr["value"].tensor for f in functions for n in f.node_def if n.op == "Const")
    return [t.tensor_content for t in tensors if tf.as_dtype(t.dtype).is_floating and t.tensor_content]


def files_digest(folder: Path) -> str:
    """SHA-256 over the files of a folder and their names, but for the manifest."""
    content = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        content.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return content.hexdigest()


def write_manifest(folder: Path, manifest: dict) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def manifest_of_smaller(manifest: dict, precision: str) -> dict:
    """Of a smaller form of a model: what was measured of the model, and its blessing, are not the small one's."""
    kept = {k: v for k, v in manifest.items() if k != "blessed"}
    return kept | {"precision": precision, "of": manifest["digest"], "metrics": {}}


def read_manifest(folder: str | Path) -> dict:
    """What `memefly.json` says. Raises `ModelError` where the folder holds no exported model."""
    path = Path(folder) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a model of memefly: no {MANIFEST} in it. Expected a version folder such as "
            "ROOT/serving/captioner/1700000000, or the captioner folder above it"
        ) from None
    except json.JSONDecodeError as error:
        raise ModelError(f"{path} is damaged ({error})") from None


def warmup_pictures() -> list[bytes]:
    """One grey picture in each format that comes most: JPEG and PNG."""
    pictures = []
    for format in ("JPEG", "PNG"):
        out = io.BytesIO()
        Image.new("RGB", (256, 256), (127, 127, 127)).save(out, format=format)
        pictures.append(out.getvalue())
    return pictures


def write_warmup(folder: Path, pictures: Sequence[bytes]) -> None:
    """Requests that TensorFlow Serving replays before it calls the model ready, for several batch sizes."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    (folder / WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for size in WARMUP_BATCHES:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = MODEL_NAME
            request.model_spec.signature_name = "serving_default"
            batch = [pictures[i % len(pictures)] for i in range(size)]
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(batch, dtype=tf.string))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def read_warmup(folder: Path) -> list[list[bytes]]:
    """The pictures of each warm-up request; none where there are none."""
    from tensorflow_serving.apis import prediction_log_pb2

    if not (folder / WARMUP).is_file():
        return []
    records = tf.data.TFRecordDataset(str(folder / WARMUP)).as_numpy_iterator()
    requests = (prediction_log_pb2.PredictionLog.FromString(r).predict_log.request for r in records)
    return [list(tf.make_ndarray(request.inputs["image_bytes"])) for request in requests]


# --- reading it back --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caption:
    text: str
    score: float


class ExportedModel:
    """A loaded SavedModel; what a client of TensorFlow Serving would see, in this process."""

    def __init__(self, folder: Path):
        self.folder, self.manifest = folder, read_manifest(folder)
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{folder} does not load as a SavedModel: {error}") from error
        missing = [name for name in SIGNATURES if name not in self._loaded.signatures]
        if missing:
            raise ModelError(f"{folder} lacks the signatures {missing}; it has {sorted(self._loaded.signatures)}")

    def warm_up(self) -> None:
        """Replays the warm-up requests that are stored with the model, as TensorFlow Serving does when it loads it."""
        for batch in read_warmup(self.folder):
            self.predict(batch)

    def predict(self, image_bytes: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Raw `serving_default` on encoded pictures fit for the graph (see `memefly.images.canonical`)."""
        signature = self._loaded.signatures["serving_default"]
        return {k: v.numpy() for k, v in signature(image_bytes=tf.constant(list(image_bytes), tf.string)).items()}

    def decode(self, image_bytes: Sequence[bytes], knobs: dict) -> dict[str, np.ndarray]:
        """Raw `decode`: `knobs` holds a value for all pictures, or one a picture; the rest is as in `memefly.json`.

        Raises `ModelError` where a knob is unknown or its value cannot be.
        """
        self._check(knobs)
        configured = self.manifest["config"]["decoding"]
        values = {name: np.atleast_1d(knobs.get(name, configured[name])) for name in KNOBS}
        inputs = {
            name: tf.constant(np.broadcast_to(value, [len(image_bytes)]), KNOBS[name]) for name, value in values.items()
        }
        out = self._loaded.signatures["decode"](image_bytes=tf.constant(list(image_bytes), tf.string), **inputs)
        return {k: v.numpy() for k, v in out.items()}

    def explain(self, image_bytes: Sequence[bytes]) -> list[tuple[list[str], np.ndarray]]:
        """Of every picture the words of its caption, and where the network looked for each: float32 (words, h, w), of
        sum 1 over the picture."""
        out = self._loaded.signatures["explain"](image_bytes=tf.constant(list(image_bytes), tf.string))
        found = []
        for row, alphas in zip(out["tokens"].numpy(), out["alphas"].numpy()):
            words = [word.decode("utf-8") for word in row if word and word.decode("utf-8") != text.END]
            found.append((words, alphas[: len(words)]))
        return found

    def _check(self, knobs: dict) -> None:
        configured = self.manifest["config"]["decoding"]
        unknown = sorted(set(knobs) - set(KNOBS))
        if unknown:
            raise ModelError(f"no such knobs of decoding: {unknown}; known are {sorted(KNOBS)}")
        longest = int(np.max(knobs.get("max_length", 0)))
        if longest > configured["max_length"]:
            raise ModelError(
                f"max_length is {longest}, but the model was exported for {configured['max_length']} tokens; export it "
                "with a larger decoding.max_length"
            )
        lists = {name: np.atleast_1d(value) for name, value in knobs.items()}
        for i in range(max((len(v) for v in lists.values()), default=0)):
            one = {name: v[i % len(v)].item() for name, v in lists.items()}
            try:
                DecodingConfig(**{**configured, **one})
            except ValidationError as error:
                said = "; ".join(
                    f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors()
                )
                raise ModelError(f"decoding cannot do that: {said}") from None

    @property
    def encode(self) -> tf.types.experimental.ConcreteFunction:
        """The encoder alone, as a graph: pictures float32 (B, H, W, 3) in [-1, 1] to features float16 (B, h, w, D).
        Raises `ModelError` where the model was exported without it."""
        functions = getattr(getattr(self._loaded, "encode", None), "concrete_functions", None)
        if not functions:
            raise ModelError(f"{self.folder} was exported by an older memefly, without its encoder apart; run it again")
        return functions[0]

    @property
    def encoder_state(self):
        """What holds the variables of `encode`."""
        return self._loaded.encoder_state

    def features(self, image_bytes: Sequence[bytes], batch_size: int = 16) -> np.ndarray:
        """What the model's encoder makes of pictures: float16 (B, h, w, D)."""
        self.encode  # noqa: B018 - models without it answered with one tensor
        batches = range(0, len(image_bytes), batch_size)
        return np.concatenate([self._loaded.features(tf.constant(image_bytes[i : i + batch_size]))[0] for i in batches])

    def caption(self, image_bytes: Sequence[bytes], batch_size: int = 16, **knobs) -> list[list[Caption]]:
        """The K best captions of every picture, best first; `knobs` as in `decode`, one value for all pictures.

        Places that hold no caption are left out.
        """
        captions = []
        for start in range(0, len(image_bytes), batch_size):
            batch = image_bytes[start : start + batch_size]
            out = self.decode(batch, knobs) if knobs else self.predict(batch)
            captions += [
                [Caption(c.decode("utf-8"), float(s)) for c, s in zip(*row) if s > -1e6]
                for row in zip(out["captions"], out["scores"])
            ]
        return captions


@dataclass(frozen=True)
class Parts:
    """What an exported model is made of, behind its encoder: for measurements that no signature offers."""

    network: Network
    standardizer: Standardizer
    vocabulary: text.Vocabulary


def load_parts(folder: str | Path) -> Parts:
    """The network, standardizer and vocabulary of an exported model, with its weights. Raises `ModelError`."""
    folder = newest_version(folder)
    manifest = read_manifest(folder)
    vocabulary = text.Vocabulary.load(next((folder / "assets").iterdir()))
    shape = tuple(manifest["encoder"]["feature_shape"])
    network = networks.build(NetworkConfig(**manifest["config"]["network"]), len(vocabulary), shape, seed=0)
    standardizer = Standardizer(np.zeros(shape[-1], np.float32), np.ones(shape[-1], np.float32))
    checkpoint = tf.train.Checkpoint(network=network, standardizer=standardizer)
    try:
        status = checkpoint.read(str(folder / "variables" / "variables"))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, tf.errors.OpError) as error:
        raise ModelError(f"the weights in {folder} are not those of its {MANIFEST}: {error}") from error
    return Parts(network, standardizer, vocabulary)


def load(folder: str | Path) -> ExportedModel | LiteModel:
    """Loads an exported model: a version folder, or the folder of versions, whose newest is taken."""
    version = newest_version(folder)
    if read_manifest(version).get("precision") == "int8":
        from memefly.lite import LiteModel

        return LiteModel(version)
    return ExportedModel(version)


def newest_version(folder: str | Path) -> Path:
    """`folder` itself where it is a model, else its version with the highest number. Raises `ModelError`."""
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        return folder
    versions = [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    if not versions:
        read_manifest(folder)  # raises, and says what was expected
    return max(versions, key=lambda p: int(p.name))
