"""A SavedModel of ours, loaded: what a client of TensorFlow Serving would see, in this process.

>>> ExportedModel(newest_version("root/serving/captioner")).caption([picture.data])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from pydantic import ValidationError

from memefly.decoding import KNOBS
from memefly.decoding_config import PREFIX, DecodingConfig
from memefly.errors import ModelError, in_our_words
from memefly.exported.captions import Caption, Looked, looked, reader
from memefly.exported.manifest import MANIFEST, SIGNATURES, read_manifest
from memefly.exported.warmup import read_warmup
from memefly.storage import Place


class ExportedModel:
    """A loaded SavedModel; what a client of TensorFlow Serving would see, in this process."""

    batches, at_once = True, 1  # calls worth making at the same time: a batch uses all cores (`benchmarks.serving`)

    def __init__(self, folder: Place):
        self.folder, self.manifest = folder, read_manifest(folder)
        if not isinstance(self.manifest.get("config", {}).get("decoding"), dict):
            raise ModelError(f"{folder / MANIFEST} is damaged: config.decoding is not in it")
        self.read = reader(self.manifest)
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{folder} does not load as a SavedModel: {error}") from error
        missing = [name for name in SIGNATURES if name not in self._loaded.signatures]
        if missing:
            raise ModelError(f"{folder} lacks the signatures {missing}; it has {sorted(self._loaded.signatures)}")

    @property
    def _begins(self) -> bool:
        return PREFIX in self._loaded.signatures["decode"].structured_input_signature[1]

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
        Beside the numbers of `memefly.decoding.KNOBS` there is `prefix`, a text that captions begin with.

        Raises `ModelError` where a knob is unknown or its value cannot be.
        """
        knobs = dict(knobs)
        prefix = knobs.pop(PREFIX, "")
        self._check(knobs, prefix)
        configured = self.manifest["config"]["decoding"]
        # An older model has fewer knobs.
        values = {name: np.atleast_1d(knobs.get(name, configured[name])) for name in KNOBS if name in configured}
        inputs = {
            name: tf.constant(np.broadcast_to(value, [len(image_bytes)]), KNOBS[name]) for name, value in values.items()
        }
        if self._begins:
            prefixes = [prefix] * len(image_bytes) if isinstance(prefix, str) else list(prefix)
            inputs[PREFIX] = tf.constant(prefixes, tf.string)
        out = self._loaded.signatures["decode"](image_bytes=tf.constant(list(image_bytes), tf.string), **inputs)
        return {k: v.numpy() for k, v in out.items()}

    def answer(self, image_bytes: Sequence[bytes], knobs: dict) -> dict[str, np.ndarray]:
        """Raw: `decode` where there are knobs, else `predict`."""
        return self.decode(image_bytes, knobs) if knobs else self.predict(image_bytes)

    def explain(self, image_bytes: Sequence[bytes], captions: Sequence[str] = ()) -> list[Looked]:
        """Where the network looks as it says the caption of each picture, or what it says best where there is none.
        Raises `ModelError` where the model can do that for its best caption alone."""
        inputs, name = {"image_bytes": tf.constant(list(image_bytes), tf.string)}, "explain"
        if captions:
            inputs, name = inputs | {"caption": tf.constant(list(captions), tf.string)}, "look"
        if name not in self._loaded.signatures:
            raise ModelError(f"the model in {self.folder} was exported by an older memefly: run it again")
        out = self._loaded.signatures[name](**inputs)
        return [looked(*row) for row in zip(out["tokens"].numpy(), out["alphas"].numpy())]

    def _check(self, knobs: dict, prefix: str | Sequence[str]) -> None:
        configured = self.manifest["config"]["decoding"]
        unknown = sorted(set(knobs) - set(KNOBS))
        if unknown:
            raise ModelError(f"no such knobs of decoding: {unknown}; known are {sorted([*KNOBS, PREFIX])}")
        missing = sorted(set(knobs) - set(configured)) + ([PREFIX] if prefix and not self._begins else [])
        if missing:
            raise ModelError(
                f"the model in {self.folder} was exported by an older memefly and has no {', '.join(missing)}; "
                "run it again"
            )
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
                    f"{'.'.join(map(str, e['loc']))}: {in_our_words(e)}".removeprefix(": ") for e in error.errors()
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

        Places that hold no caption are left out, and captions that may not be said; a picture may so have none.
        """
        captions = []
        for start in range(0, len(image_bytes), batch_size):
            batch = image_bytes[start : start + batch_size]
            out = self.answer(batch, knobs)
            captions += [self.read(*row) for row in zip(out["captions"], out["scores"])]
        return captions
