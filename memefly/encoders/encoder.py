"""Frozen picture encoders: pictures to features.

    >>> encoder = load(EncoderConfig(weights="random"))
    >>> encoder.encode(pictures)                 # float32 (B, 299, 299, 3) in [-1, 1] to float16 (B, h, w, D)

Features are float16: that halves the store, and training and serving both read what was rounded once. With
`storage="uint8"` they are rounded to what is stored (`eight_bits`), with a `projection` they have fewer channels: in
bulk encoding, in fine-tuning and in what is exported alike.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from memefly import devices, images
from memefly.encoders import eight_bits, precision, projection, weights
from memefly.encoders.config import BFLOAT16_TOLERANCE, EncoderConfig, digest, fitted_on, name
from memefly.encoders.projection import Projection
from memefly.errors import EncoderError

if TYPE_CHECKING:
    import tensorflow as tf

    from memefly.encoders.inference_graph import InferenceGraph

log = logging.getLogger(__name__)

FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder. `model` is callable on float32 (B, H, W, 3); `feature_shape` is (h, w, D)."""

    name: str
    digest: str
    model: tf.Module
    image_size: tuple[int, int]
    feature_shape: tuple[int, int, int]
    precision: str = "float32"  # of `encode`: auto | float32 | bfloat16
    storage: str = "float16"  # float16 | uint8
    projection: Projection | None = None

    def features(self, pictures: tf.Tensor) -> tf.Tensor:
        """Graph op: float32 (B, H, W, 3) in [-1, 1] to float16 (B, h, w, D), as they are stored."""
        return self._rounded(self._exact(pictures))

    def trainable_features(self, pictures: tf.Tensor) -> tf.Tensor:
        """As `features`, but float32 and with a gradient: rounded as served, the rounding passed over
        (straight-through), since gradients that small would vanish in float16 themselves."""
        import tensorflow as tf

        features = self._exact(pictures)
        return features + tf.stop_gradient(tf.cast(self._rounded(features), tf.float32) - features)

    def _exact(self, pictures: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        features = self.model(pictures, training=False)
        features = self.projection(features) if self.projection else features
        features = tf.ensure_shape(features, [None, *self.feature_shape])
        return tf.clip_by_value(features, -FLOAT16_MAX, FLOAT16_MAX)

    def _rounded(self, features: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        features = tf.cast(features, tf.float16)
        return eight_bits.rounded(features) if self.storage == "uint8" else features

    @functools.cached_property
    def graph(self) -> InferenceGraph:
        """`features` with the weights as they are now, made for inference: what is exported."""
        import tensorflow as tf

        from memefly.encoders.inference_graph import InferenceGraph

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
        """What `encode` computes in: float32, bfloat16 or, on a GPU, float16.

        `auto` is float16 on a GPU, and bfloat16 where the processor has it, if the features of eight pictures are
        within `BFLOAT16_TOLERANCE` of what they are in float32. They are noise with the spectrum of photographs (Field
        1987), always the same, so that all processes decide alike.
        """
        settled = precision.resolve(self.precision)
        if self.precision == "auto" and devices.has_gpu():
            settled = "float16"
        if self.precision != "auto" or settled == "float32":
            return settled
        pictures = _noise(8, self.image_size)
        exact, near = (self._encode_in(p)(pictures).numpy().astype(np.float32) for p in ("float32", settled))
        error = np.linalg.norm(near - exact) / max(np.linalg.norm(exact), np.finfo(np.float32).tiny)
        if error <= BFLOAT16_TOLERANCE:
            return settled
        log.info(
            "encoder %s computes in float32: its features would be %.1f %% off in %s, more than %g %%",
            self.name, 100 * error, settled, 100 * BFLOAT16_TOLERANCE,
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
    model = weights.load(config)
    size, shape = weights.shapes(model, config.weights)
    model.trainable = False
    found = projection.read(config.projection) if config.projection else None
    if found and (found.encoder != fitted_on(config) or len(found.mean) != shape[-1]):
        raise EncoderError(
            f"encoder.projection: {config.projection} was fitted on another encoder, of {len(found.mean)} channels, "
            f"than {name(config.model_copy(update={'projection': None}))}, of {shape[-1]}; fit one on this with "
            "`memefly project`"
        )
    shape = (*shape[:2], found.channels) if found else shape
    return Encoder(name(config), digest(config), model, size, shape, config.precision, config.storage, found)


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
