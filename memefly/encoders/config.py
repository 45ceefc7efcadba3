"""Which picture encoder, by name and by digest, before anything is loaded: no TensorFlow here.

    >>> digest(EncoderConfig(weights="random"))     # what stored features, caches and models are keyed by

Three sources of weights:

- `imagenet`: InceptionV3 (Szegedy et al., arXiv 1512.00567) up to `mixed10` with the ImageNet weights that Keras gives
  out, downloaded once and checked against their published MD5;
- `random`: InceptionV3 with weights drawn from a fixed seed (He et al., arXiv 1502.01852), for tests and for the
  offline demo. Never chosen silently;
- a path: any Keras model file or SavedModel from float32 (B, H, W, 3) in [-1, 1] to (B, h, w, D).
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from memefly import images, storage
from memefly.errors import EncoderError

INCEPTION_V3_SIZE = (299, 299)
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
IMAGENET_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"  # as published in keras.applications.inception_v3
_RANDOM_RECIPE = "inception-v3/he-normal/1"
BFLOAT16_TOLERANCE = 0.02  # relative error of features: InceptionV3's are 1 % off, EfficientNet-Lite2's 6 %


class EncoderConfig(BaseModel):
    """Which encoder, and how many pictures it takes at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    storage: Literal["float16", "uint8"] = Field(
        "float16", description="of stored features; uint8: a scale for each channel of a picture, half the size"
    )
    projection: str | None = Field(
        None, description="path of what `memefly project` fitted on train: fewer channels (PCA); null: all"
    )
    flip: bool = Field(False, description="also encode training pictures mirrored, for training.flip")
    imagenet_url: str = Field(IMAGENET_URL, description="where `imagenet` is downloaded from, such as a mirror")
    cache_dir: str = Field("~/.cache/memefly", description="where downloads are kept")


def name(config: EncoderConfig) -> str:
    """A short name for people: `inception_v3/imagenet`, `inception_v3/random-0` or the file's name, with the size of
    pictures and the projection where one was set."""
    at = f"@{config.size}" if config.size else ""
    at += f"+{Path(config.projection).stem}" if config.projection else ""
    if config.weights == "imagenet":
        return f"inception_v3/imagenet{at}"
    if config.weights == "random":
        return f"inception_v3/random-{config.seed}{at}"
    return f"{Path(config.weights).name}{at}"


def digest(config: EncoderConfig) -> str:
    """SHA-256 over the weights (the file's bytes, or what they are made from), the picture preprocessing, the form and
    the projection of what is stored, and what size and precision were asked for: who asked for float32 is never handed
    what is 1 % off. Not over what `auto` means on this machine, since the one that encodes may be another.

    Needs no TensorFlow, so a pipeline can be keyed by it before anything is loaded. Raises `EncoderError` where a
    path leads nowhere.
    """
    content = hashlib.sha256(images.PREPROCESSING.encode())
    if config.weights == "imagenet":
        content.update(f"imagenet {IMAGENET_MD5}".encode())
    elif config.weights == "random":
        content.update(f"{_RANDOM_RECIPE} seed {config.seed}".encode())
    else:
        path = existing(config.weights)
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
    if config.projection:
        try:
            content.update(b"\0projection " + hashlib.sha256(storage.at(config.projection).read_bytes()).digest())
        except OSError as error:
            raise EncoderError(
                f"encoder.projection is {config.projection!r}, which cannot be read ({error.strerror or error}). "
                "Expected a file that `memefly project` wrote, or null"
            ) from None
    if config.storage != "float16":
        content.update(f"\0storage {config.storage} 1".encode())
    return content.hexdigest()


def fitted_on(config: EncoderConfig) -> str:
    """What a projection is fitted on: the digest of the same encoder as it is without one, whatever its features are
    computed and stored in."""
    return digest(config.model_copy(update={"projection": None, "storage": "float16", "precision": "float32"}))


def existing(weights: str) -> Path:
    """The path that `weights` names. Raises `EncoderError` where it leads nowhere."""
    path = Path(weights).expanduser()
    if not path.exists():
        raise EncoderError(
            f"encoder.weights is {weights!r}: no such file or folder. Expected imagenet, random, or the path of a "
            "Keras model file or SavedModel"
        )
    return path
