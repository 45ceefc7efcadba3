"""Frozen picture encoders: where their weights come from, their digest, and pictures to features.

    >>> encoder = load(EncoderConfig(weights="random"))
    >>> encoder.encode(pictures)                 # float32 (B, 299, 299, 3) in [-1, 1] to float16 (B, h, w, D)

Three sources of weights:

- `imagenet`: InceptionV3 (Szegedy et al., arXiv 1512.00567) up to `mixed10` with the ImageNet weights that Keras gives
  out, downloaded once and checked against their published MD5;
- `random`: InceptionV3 with weights drawn from a fixed seed (He et al., arXiv 1502.01852), for tests and for the
  offline demo. Never chosen silently;
- a path: any Keras model file or SavedModel from float32 (B, H, W, 3) in [-1, 1] to (B, h, w, D).

Features are float16: that halves the store, and training and serving both read what was rounded once.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from memefly import images, precision
from memefly.errors import EncoderError, first_line

if TYPE_CHECKING:
    import tensorflow as tf

    from memefly.inference_graph import InferenceGraph

log = logging.getLogger(__name__)

INCEPTION_V3_SIZE = (299, 299)
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
IMAGENET_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"  # as published in keras.applications.inception_v3
_RANDOM_RECIPE = "inception-v3/he-normal/1"
FLOAT16_MAX = 65504.0
BFLOAT16_TOLERANCE = 0.02  # relative error of features: InceptionV3's are 1 % off, EfficientNet-Lite2's 6 %


class EncoderConfig(BaseModel):
    """Which encoder, and how many pictures it takes at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: str = Field("imagenet", description="imagenet | random | path of a Keras model file or SavedModel")
    seed: int = Field(0, description="of the `random` weights")
    size: int | None = Field(
        None, ge=32, description="pixels of a picture's sides; null: what the model was made for (1906.06423)"
    )
    batch_size: int = Field(32, ge=1, description="pictures an encoder call; 8 to 32 are equally fast on a CPU")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="bfloat16 in bulk encoding; auto: where the processor has it and the features agree to 2 %. "
        "Serving is in float32",
    )
    flip: bool = Field(False, description="also encode training pictures mirrored, for training.flip")
    imagenet_url: str = Field(IMAGENET_URL, description="where `imagenet` is downloaded from, such as a mirror")
    cache_dir: str = Field("~/.cache/memefly", description="where downloads are kept")


def name(config: EncoderConfig) -> str:
    """A short name for people: `inception_v3/imagenet`, `inception_v3/random-0` or the file's name, with the size of
    pictures where one was set."""
    at = f"@{config.size}" if config.size else ""
    if config.weights == "imagenet":
        return f"inception_v3/imagenet{at}"
    if config.weights == "random":
        return f"inception_v3/random-{config.seed}{at}"
    return f"{Path(config.weights).name}{at}"


def digest(config: EncoderConfig) -> str:
    """SHA-256 over the weights (the file's bytes, or what they are made from), the picture preprocessing, and what
    size and precision were asked for: who asked for float32 is never handed what is 1 % off. Not over what `auto` means
    on this machine, since the one that encodes may be another.

    Needs no TensorFlow, so a pipeline can be keyed by it before anything is loaded. Raises `EncoderError` where a
    path leads nowhere.
    """
    content = hashlib.sha256(images.PREPROCESSING.encode())
    if config.weights == "imagenet":
        content.update(f"imagenet {IMAGENET_MD5}".encode())
    elif config.weights == "random":
        content.update(f"{_RANDOM_RECIPE} seed {config.seed}".encode())
    else:
        path = _existing(config.weights)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            content.update(f"\0{file.relative_to(path.parent)}\0".encode())
            with file.open("rb") as stream:
                for block in iter(functools.partial(stream.read, 1 << 20), b""):
                    content.update(block)
    if config.size:
        content.update(f"\0size {config.size}".encode())
    if config.precision != "float32":
        content.update(f"\0{config.precision} {BFLOAT16_TOLERANCE if config.precision == 'auto' else ''}".encode())
    return content.hexdigest()


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder. `model` is callable on float32 (B, H, W, 3); `feature_shape` is (h, w, D)."""

    name: str
    digest: str
    model: tf.Module
    image_size: tuple[int, int]
    feature_shape: tuple[int, int, int]
    precision: str = "float32"  # of `encode`: auto | float32 | bfloat16

    def features(self, pictures: tf.Tensor) -> tf.Tensor:
        """Graph op: float32 (B, H, W, 3) in [-1, 1] to float16 (B, h, w, D)."""
        import tensorflow as tf

        features = tf.ensure_shape(self.model(pictures, training=False), [None, *self.feature_shape])
        return tf.cast(tf.clip_by_value(features, -FLOAT16_MAX, FLOAT16_MAX), tf.float16)

    def trainable_features(self, pictures: tf.Tensor) -> tf.Tensor:
        """As `features`, but float32 and with a gradient: rounded to float16 as served, the rounding passed over
        (straight-through), since gradients that small would vanish in float16 themselves."""
        import tensorflow as tf

        features = tf.ensure_shape(self.model(pictures, training=False), [None, *self.feature_shape])
        features = tf.clip_by_value(features, -FLOAT16_MAX, FLOAT16_MAX)
        return features + tf.stop_gradient(tf.cast(tf.cast(features, tf.float16), tf.float32) - features)

    @functools.cached_property
    def graph(self) -> InferenceGraph:
        """`features` with the weights as they are now, made for inference: what is exported."""
        import tensorflow as tf

        from memefly.inference_graph import InferenceGraph

        signature = [tf.TensorSpec([None, *self.image_size, 3], tf.float32)]
        return InferenceGraph(
            tf.function(self.features, input_signature=signature, autograph=False).get_concrete_function()
        )

    @functools.cached_property
    def encode(self):
        """`graph`, compiled with the weights folded in, for bulk work."""
        return self._encode_in(self.bulk_precision)

    @functools.cached_property
    def bulk_precision(self) -> str:
        """What `encode` computes in, float32 or bfloat16.

        `auto` is bfloat16 where the processor has it and the features of eight pictures are within
        `BFLOAT16_TOLERANCE` of what they are in float32. They are noise with the spectrum of photographs (Field 1987),
        always the same, so that all processes decide alike.
        """
        settled = precision.resolve(self.precision)
        if self.precision != "auto" or settled == "float32":
            return settled
        pictures = _noise(8, self.image_size)
        exact, near = (self._encode_in(p)(pictures).numpy().astype(np.float32) for p in ("float32", "bfloat16"))
        error = np.linalg.norm(near - exact) / max(np.linalg.norm(exact), np.finfo(np.float32).tiny)
        if error <= BFLOAT16_TOLERANCE:
            return "bfloat16"
        log.info(
            "encoder %s computes in float32: its features would be %.1f %% off in bfloat16, more than %g %%",
            self.name, 100 * error, 100 * BFLOAT16_TOLERANCE,
        )  # fmt: skip
        return "float32"

    @functools.cached_property
    def _frozen(self):
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        # Frozen weights let oneDNN keep them in its own layout.
        return convert_variables_to_constants_v2(self.graph.function.get_concrete_function())

    def _encode_in(self, precision_: str):
        import tensorflow as tf

        compiled = precision.always_in(precision_, self._frozen)
        return lambda pictures: compiled(tf.convert_to_tensor(pictures))

    def encode_bytes(self, data: Sequence[bytes], mirrored: Sequence[bool] | None = None) -> np.ndarray:
        """Encoded pictures to features: B byte strings to float16 (B, h, w, D). Those that `mirrored` names are
        turned left to right first."""
        import tensorflow as tf

        pictures = self._preprocess(tf.constant(list(data), tf.string))  # (B, H, W, 3)
        if mirrored is not None and any(mirrored):
            turned = tf.constant(list(mirrored))[:, tf.newaxis, tf.newaxis, tf.newaxis]
            pictures = tf.where(turned, tf.reverse(pictures, axis=[2]), pictures)
        return self.encode(pictures).numpy()

    @functools.cached_property
    def _preprocess(self):
        import tensorflow as tf

        signature = [tf.TensorSpec([None], tf.string)]
        return tf.function(
            lambda data: images.preprocess_batch(data, self.image_size), input_signature=signature, autograph=False
        )


def load(config: EncoderConfig) -> Encoder:
    """Loads (for `imagenet`: downloads, once) the weights. Raises `EncoderError` with what to do."""
    if config.weights == "imagenet":
        model = _inception_v3()
        model.load_weights(imagenet_weights(config))
    elif config.weights == "random":
        model = _inception_v3()
        _seed_weights(model, config.seed)
    else:
        model = _load_path(_existing(config.weights))
    if config.size:
        model = _at_size(model, config)
    size, shape = _shapes(model, config.weights)
    model.trainable = False
    return Encoder(name(config), digest(config), model, size, shape, config.precision)


def unfreeze(encoder: Encoder, behind: str) -> list[tf.Variable]:
    """The weights of the layers behind the one named, made trainable; batch normalisation stays as it is (its
    statistics are of millions of pictures, a batch here is of four). Raises `EncoderError`."""
    layers = getattr(encoder.model, "layers", None)
    if layers is None:
        raise EncoderError(
            f"encoder {encoder.name} is a SavedModel, whose layers cannot be told apart: fine-tuning needs InceptionV3 "
            "or a Keras model file"
        )
    names = [layer.name for layer in layers]
    if behind not in names:
        raise EncoderError(
            f"training.fine_tuning.behind is {behind!r}, which is no layer of {encoder.name}; its last ones are "
            f"{', '.join(names[-8:])}"
        )
    # Behind it in the graph, not in the list: branches that run beside the layer are listed after it too.
    reached = {names.index(behind)}
    by_id = {id(layer): i for i, layer in enumerate(layers)}
    top = []
    for i, layer in enumerate(layers):
        before = {
            by_id.get(id(parent))
            for node in layer.inbound_nodes
            for parent in _as_list(node.inbound_layers)
        }  # fmt: skip
        if before & reached:
            reached.add(i)
            if type(layer).__name__ != "BatchNormalization":
                top.extend(layer.weights)
    if not top:
        raise EncoderError(f"no layer of {encoder.name} behind {behind!r} has weights to train")
    return top


def tuned(encoder: Encoder) -> Encoder:
    """The same encoder under a name and a digest of its own, after its weights were trained further."""
    content = hashlib.sha256(encoder.digest.encode())
    for variable in encoder.model.variables:
        content.update(variable.numpy().tobytes())
    return dataclasses.replace(encoder, name=f"{encoder.name}+tuned", digest=content.hexdigest())


def _as_list(x) -> list:
    return list(x) if isinstance(x, (list, tuple)) else [x]


def _noise(pictures: int, size: tuple[int, int]) -> np.ndarray:
    """Pictures (B, H, W, 3) in [-1, 1] whose amplitudes fall as one over the frequency, as those of photographs do
    (Field, "Relations between the statistics of natural images and the response properties of cortical cells", 1987).
    """
    H, W = size
    frequency = np.hypot(np.fft.fftfreq(H)[:, np.newaxis], np.fft.rfftfreq(W))  # (H, W // 2 + 1)
    shape = (pictures, *frequency.shape, 3)
    real, imaginary = np.random.default_rng(0).standard_normal((2, *shape))
    spectrum = (real + 1j * imaginary) / np.maximum(frequency, 1 / max(H, W))[..., np.newaxis]
    noise = np.fft.irfft2(spectrum, s=(H, W), axes=(1, 2))
    noise /= 2 * noise.std(axis=(1, 2, 3), keepdims=True)
    return np.clip(noise, -1, 1).astype(np.float32)


def _inception_v3():
    import tf_keras

    return tf_keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(*INCEPTION_V3_SIZE, 3))


def _at_size(model, config: EncoderConfig):
    """The same layers and weights for pictures of another size, with as many more or fewer positions. Networks that
    were trained on crops see objects smaller than they learnt them, so a larger picture is nearer to what they know
    (Touvron et al., "Fixing the train-test resolution discrepancy", arXiv 1906.06423), and shows more detail."""
    import tf_keras

    asked = f"encoder.size is {config.size}"
    if not isinstance(model, tf_keras.Model):
        raise EncoderError(
            f"{asked}, but {config.weights} is a SavedModel, whose size is fixed; give a Keras model file, or no size"
        )
    if tuple(model.input_shape[1:3]) == (config.size, config.size):
        return model
    try:
        # A copy that keeps the names: training.fine_tuning.behind is one of them.
        resized = tf_keras.models.clone_model(model, input_tensors=tf_keras.Input((config.size, config.size, 3)))
        resized.set_weights(model.get_weights())
    except (ValueError, TypeError) as error:  # a layer that knows of one size only, such as Dense behind Flatten
        raise EncoderError(
            f"{asked}, but {config.weights} takes pictures of {model.input_shape[1:3]} only ({first_line(error)}); "
            "leave the size out, or give an encoder of convolutions"
        ) from error
    return resized


def _seed_weights(model, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # He's variance keeps the scale of activations over 94 layers. Batch normalisation stays at its start, so that
    # no other weight is random.
    weights = [
        (rng.standard_normal(w.shape, np.float32) * np.sqrt(2.0 / np.prod(w.shape[:-1]))).astype(np.float32)
        if w.ndim == 4
        else w
        for w in model.get_weights()
    ]
    model.set_weights(weights)


def imagenet_weights(config: EncoderConfig) -> str:
    """Path of the checked ImageNet weights, downloaded if they are not there yet."""
    import tf_keras

    folder = Path(config.cache_dir).expanduser()
    try:
        return tf_keras.utils.get_file(
            "inception_v3_notop.h5", config.imagenet_url, file_hash=IMAGENET_MD5, cache_dir=folder, cache_subdir="."
        )
    except Exception as error:  # get_file raises bare Exception for what the network does, ValueError for the hash
        if isinstance(error, ValueError):
            (folder / "inception_v3_notop.h5").unlink(missing_ok=True)
        raise EncoderError(
            f"the ImageNet weights could not be had from {config.imagenet_url} ({error}). Check the network, set "
            "encoder.imagenet_url to a mirror, put the file at "
            f"{folder / 'inception_v3_notop.h5'} (MD5 {IMAGENET_MD5}), or give encoder.weights a model file of your own"
        ) from error


def _existing(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.exists():
        raise EncoderError(
            f"encoder.weights is {weights!r}: no such file or folder. Expected imagenet, random, or the path of a "
            "Keras model file or SavedModel"
        )
    return path


def _load_path(path: Path):
    import tensorflow as tf
    import tf_keras

    try:
        if path.is_file():
            return tf_keras.models.load_model(path, compile=False)
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # h5py, zipfile and TensorFlow each raise their own
        raise EncoderError(f"{path} does not load as a Keras model file or SavedModel: {error}") from error
    signature = loaded.signatures.get("serving_default") if hasattr(loaded, "signatures") else None
    if signature is None:
        raise EncoderError(f"{path}: the SavedModel has no signature serving_default")
    return _SavedModelEncoder(loaded, signature, str(path))


def _SavedModelEncoder(loaded, signature, path: str):
    """A SavedModel with one picture input and one feature output, dressed as a Keras model."""
    import tensorflow as tf

    class SavedModelEncoder(tf.Module):
        def __init__(self):
            super().__init__()
            self.loaded = loaded
            inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
            if len(inputs) != 1 or len(outputs) != 1:
                raise EncoderError(
                    f"{path}: expected one input and one output, got {sorted(inputs)} and {sorted(outputs)}"
                )
            ((self._input, spec),), ((self._output, out),) = inputs.items(), outputs.items()
            self.input_shape, self.output_shape, self.trainable = tuple(spec.shape), tuple(out.shape), False

        def __call__(self, pictures, training=False):
            return signature(**{self._input: pictures})[self._output]

    return SavedModelEncoder()


def _shapes(model, weights: str) -> tuple[tuple[int, int], tuple[int, int, int]]:
    wanted = "float32 (B, H, W, 3) to (B, h, w, D), all but B fixed"
    shapes = model.input_shape, model.output_shape
    for shape in shapes:
        if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
            raise EncoderError(
                f"encoder {weights}: expected {wanted}, got {shapes[0]} to {shapes[1]}; for a Keras model that takes "
                "pictures of any size, set encoder.size"
            )
    if shapes[0][3] != 3:
        raise EncoderError(f"encoder {weights}: expected {wanted}, got {shapes[0][3]} input channels")
    return tuple(shapes[0][1:3]), tuple(shapes[1][1:])
