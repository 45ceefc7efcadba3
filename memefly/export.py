"""The exported model: a SavedModel from picture bytes to captions, and the same thing read back.

    >>> export(captioner, folder, manifest)
    >>> model = load(folder)
    >>> model.caption([picture.data])            # [[Caption("a cat on a mat", -0.41), …]]

Signatures (B pictures, K captions each, T tokens, h x w positions):

- `serving_default`: image_bytes string (B,) to caption string (B,), score float32 (B,), captions string (B, K),
  scores float32 (B, K), best first;
- `decode`: as `serving_default`, and with it every knob of decoding as a value a picture, (B,) or (1,) for all of them:
  beam, groups, diversity, max_length, min_length, length_penalty, block_ngram, temperature, top_k, top_p, seed. Those
  left out have the values in `memefly.json`, which are the signature's defaults too. (TensorFlow Serving fills defaults
  in from 2.14 on; where it batches requests, clients have to send all knobs, one a picture, since what it puts together
  must have one length.) K is the largest `beam`; places beyond a picture's own hold "" and a score below -1e6;
- `explain`: image_bytes string (B,) to tokens string (B, T), alphas float32 (B, T, h, w) of the best caption;
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

import numpy as np
import tensorflow as tf
from PIL import Image
from pydantic import ValidationError

from memefly import images, networks, text
from memefly.decoding import KNOBS, DecodingConfig, dangling_ids, decode
from memefly.encoders import Encoder
from memefly.errors import ModelError
from memefly.networks import Network, NetworkConfig
from memefly.standardize import Standardizer

MANIFEST = "memefly.json"
WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
MODEL_NAME = "captioner"
SIGNATURES = ("serving_default", "decode", "explain", "evaluate")
_WARMUP_BATCHES = (1, 2, 4)


class Captioner(tf.Module):
    """Picture bytes to captions, all in one graph."""

    def __init__(
        self,
        encoder: Encoder,
        standardizer: Standardizer,
        network: Network,
        vocabulary_file: str | Path,
        decoding: DecodingConfig,
    ):
        super().__init__(name="captioner")
        self.encoder_state = encoder.state
        self.standardizer, self.network = standardizer, network
        self._encoder, self._decoding = encoder, decoding
        self._dangling = dangling_ids(text.Vocabulary.load(vocabulary_file))
        # Attached to this object, the table and its file are saved with it and initialised by every loader.
        line_to_word = tf.lookup.TextFileInitializer(
            str(vocabulary_file), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
            tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        )  # fmt: skip
        self.words = tf.lookup.StaticHashTable(line_to_word, default_value=text.UNKNOWN)

    def _spell(self, ids: tf.Tensor) -> tf.Tensor:
        return self.words.lookup(tf.cast(ids, tf.int64))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )  # one trace, shared by all signatures
    def features(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """String (B,) to float16 (B, h, w, D), as ImageFeatures computes and stores them."""
        return self._encoder.features(images.preprocess_batch(image_bytes, self._encoder.image_size))

    def _decode(self, image_bytes, **arguments):
        features = self.standardizer(self.features(image_bytes))
        return decode(self.network, features, self._decoding, self._dangling, **arguments)

    def _caption(self, image_bytes, overrides=None):
        decoded = self._decode(image_bytes, overrides=overrides)
        there = decoded.scores > -1e6
        captions = tf.where(there, text.decode_graph(decoded.tokens, self._spell), "")  # (B, K)
        return {
            "caption": captions[:, 0],
            "score": decoded.scores[:, 0],
            "captions": captions,
            "scores": decoded.scores,
        }

    def _caption_with(self, image_bytes, knobs):
        pictures = tf.shape(image_bytes)
        return self._caption(image_bytes, {name: tf.broadcast_to(value, pictures) for name, value in knobs.items()})

    def _explain(self, image_bytes):
        decoded = self._decode(image_bytes, with_alphas=True)
        tokens, alphas = decoded.tokens[:, 0], decoded.alphas[:, 0]  # (B, T), (B, T, L)
        h, w, _ = self._encoder.feature_shape
        shape = tf.concat([tf.shape(tokens), [h, w]], axis=0)
        words = tf.where(tf.equal(tokens, text.PAD_ID), "", self._spell(tokens))
        return {"tokens": words, "alphas": tf.reshape(alphas, shape)}

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        def function(method, argument):
            return tf.function(
                method, input_signature=[tf.TensorSpec([None], tf.string, name=argument)], autograph=False
            )

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
            "serving_default": function(lambda image_bytes: self._caption(image_bytes), "image_bytes"),
            "decode": tf.function(
                caption_with,
                input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes"), *kinds.values()],
                autograph=False,
            ),
            "explain": function(lambda image_bytes: self._explain(image_bytes), "image_bytes"),
            "evaluate": function(lambda image: self._caption(image), "image"),
        }


def export(captioner: Captioner, folder: str | Path, manifest: dict) -> None:
    """Writes the SavedModel with its manifest and warm-up requests; `manifest` gains the digest of the weights."""
    folder = Path(folder)
    tf.saved_model.save(captioner, str(folder), signatures=captioner.signatures())
    write_warmup(folder, _warmup_pictures())
    write_manifest(folder, {**manifest, "signatures": list(SIGNATURES), "digest": model_digest(folder)})


def model_digest(folder: Path) -> str:
    """SHA-256 over the weights, the graph and the vocabulary of a SavedModel; names and times do not enter."""
    content = hashlib.sha256()
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    for name in sorted(reader.get_variable_to_shape_map()):
        value = reader.get_tensor(name)
        if isinstance(value, np.ndarray):  # the object graph is a string: it names objects, and says nothing of them
            content.update(name.encode() + value.tobytes())
    for asset in sorted((folder / "assets").iterdir()):
        content.update(asset.name.encode() + asset.read_bytes())
    return content.hexdigest()


def write_manifest(folder: Path, manifest: dict) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


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


def _warmup_pictures() -> list[bytes]:
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
        for size in _WARMUP_BATCHES:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = MODEL_NAME
            request.model_spec.signature_name = "serving_default"
            batch = [pictures[i % len(pictures)] for i in range(size)]
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(batch, dtype=tf.string))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


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

    def features(self, image_bytes: Sequence[bytes], batch_size: int = 16) -> np.ndarray:
        """What the model's encoder makes of pictures: float16 (B, h, w, D)."""
        batches = range(0, len(image_bytes), batch_size)
        return np.concatenate([self._loaded.features(tf.constant(image_bytes[i : i + batch_size])) for i in batches])

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


def load(folder: str | Path) -> ExportedModel:
    """Loads an exported model: a version folder, or the folder of versions, whose newest is taken."""
    return ExportedModel(newest_version(folder))


def newest_version(folder: str | Path) -> Path:
    """`folder` itself where it is a model, else its version with the highest number. Raises `ModelError`."""
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        return folder
    versions = [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    if not versions:
        read_manifest(folder)  # raises, and says what was expected
    return max(versions, key=lambda p: int(p.name))
