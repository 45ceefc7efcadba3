"""Where an encoder's weights come from: Keras's ImageNet weights, a seed, a Keras model file or a SavedModel.

>>> model = load(EncoderConfig(weights="random"))   # callable on float32 (B, H, W, 3) in [-1, 1]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memefly.downloads import Downloader, Policy, Remote
from memefly.encoders.config import IMAGENET_MD5, INCEPTION_V3_SIZE, EncoderConfig, existing
from memefly.errors import DownloadError, EncoderError, first_line


def load(config: EncoderConfig):
    """The Keras model, or what is dressed as one, with its weights and at the size asked for. Raises `EncoderError`."""
    if config.weights == "imagenet":
        model = _inception_v3()
        model.load_weights(imagenet_weights(config))
    elif config.weights == "random":
        model = _inception_v3()
        _seed_weights(model, config.seed)
    else:
        model = _load_path(existing(config.weights))
    return _at_size(model, config) if config.size else model


def imagenet_weights(config: EncoderConfig) -> str:
    """Path of the checked ImageNet weights, downloaded if they are not there yet."""
    path = Path(config.cache_dir).expanduser() / "inception_v3_notop.h5"
    try:
        # Few tries: a machine without a network should say so soon.
        fetched = Downloader(Policy(tries=3)).fetch(Remote(config.imagenet_url, path, md5=IMAGENET_MD5))
    except DownloadError as error:
        raise EncoderError(
            f"the ImageNet weights could not be had from {config.imagenet_url} ({error}). Check the network, set "
            f"encoder.imagenet_url to a mirror, put the file at {path} (MD5 {IMAGENET_MD5}), or give encoder.weights a "
            "model file of your own"
        ) from error
    return str(fetched)


def shapes(model, weights: str) -> tuple[tuple[int, int], tuple[int, int, int]]:
    """Height and width of its pictures, and (h, w, D) of its features. Raises `EncoderError` where it is no encoder."""
    wanted = "float32 (B, H, W, 3) to (B, h, w, D), all but B fixed"
    found = model.input_shape, model.output_shape
    for shape in found:
        if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
            raise EncoderError(
                f"encoder {weights}: expected {wanted}, got {found[0]} to {found[1]}; for a Keras model that takes "
                "pictures of any size, set encoder.size"
            )
    if found[0][3] != 3:
        raise EncoderError(f"encoder {weights}: expected {wanted}, got {found[0][3]} input channels")
    return tuple(found[0][1:3]), tuple(found[1][1:])


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


def _load_path(path: Path):
    import tensorflow as tf
    import tf_keras

    try:
        if path.is_file():
            return tf_keras.models.load_model(path, compile=False)
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # h5py, zipfile and TensorFlow each raise their own
        raise EncoderError(
            f"{path} does not load as a Keras model file or SavedModel: {first_line(error)}. Files of Keras 3, or of a "
            f"tf-keras newer than the {tf_keras.__version__} here, may not: save it with this one, or as a SavedModel"
        ) from error
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
