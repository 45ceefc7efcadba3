"""A model for LiteRT (TensorFlow Lite), in eight bits, a quarter the size of the SavedModel; or in float32, which says
what the SavedModel says, and sooner.

    >>> convert(loading.load(folder), "small/1700000000", calibration=pictures)
    >>> model = loading.load("small/1700000000")     # a LiteModel: captions as any exported model does
    >>> model.caption([picture.data])

Two files. In eight bits `encoder.tflite` computes in integers throughout (Jacob et al., arXiv 1712.05877): the ranges
of its activations come from calibration pictures, which should be some that the model was trained on. `decoder.tflite`
is the whole search of `memefly.decoding`, loop and all, with weights in eight bits and activations in float32 ("dynamic
range"): each word reads all of the network's weights once, so a quarter of the bytes is most of the time. In float32
both are as the SavedModel has them; a search's hundreds of small operations cost LiteRT less.

TensorFlow Serving cannot serve these files; this project's own server and command line can. Pictures are decoded and
resized by TensorFlow, as in the SavedModel. The search is that which the model was exported with; its knobs are fixed.

Shapes: P pictures, K beams, T tokens, h x w positions, D feature channels.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from memefly import images, storage, text
from memefly.decoding import decode
from memefly.decoding_config import DecodingConfig
from memefly.encoders.standardize import Standardizer
from memefly.errors import ModelError
from memefly.exported.captioner import NO_SCORE, NOT_A_PICTURE
from memefly.exported.captions import Caption, reader
from memefly.exported.manifest import files_digest, manifest_of_smaller, read_manifest, write_manifest
from memefly.exported.parts import load_parts
from memefly.exported.saved_model import ExportedModel
from memefly.exported.warmup import warmup_pictures
from memefly.networks import Network
from memefly.rules import Pieces, break_of, dangling_ids, pieces_of
from memefly.safety.constraint import Blocked
from memefly.storage import Place

ENCODER, DECODER, VOCABULARY = "encoder.tflite", "decoder.tflite", "assets/captions"
Precision = Literal["int8", "fp32"]
_LEAST_CALIBRATION = 20


def convert(
    model: ExportedModel,
    folder: str | Path,
    calibration: Sequence[bytes] = (),
    on_progress: Callable[[str], None] = lambda message: None,
    precision: Precision = "int8",
) -> None:
    """Writes the form of `model` for LiteRT to `folder`, whole or not at all.

    `calibration`, for eight bits: encoded pictures fit for the graph. Raises `ModelError` where there are too few of
    them or `folder` holds something.
    """
    if precision == "int8" and len(calibration) < _LEAST_CALIBRATION:
        raise ModelError(
            f"expected at least {_LEAST_CALIBRATION} pictures to calibrate with, got {len(calibration)}; give "
            "some that the model was trained on"
        )
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ModelError(f"{folder} is not empty; export to a new folder")
    parts = load_parts(model.folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / VOCABULARY).parent.mkdir(parents=True)
    in_eight = precision == "int8"
    on_progress(f"encoder: calibrates with {len(calibration)} pictures" if in_eight else "encoder: to LiteRT")
    (partial / ENCODER).write_bytes(_encoder(model, calibration, in_eight))
    on_progress("decoder: weights to eight bits" if in_eight else "decoder: to LiteRT")
    decoding = DecodingConfig(**model.manifest["config"]["decoding"])
    shape = tuple(model.manifest["encoder"]["feature_shape"])
    search = search_of(
        parts.network,
        parts.standardizer,
        decoding,
        shape,
        dangling=dangling_ids(parts.vocabulary),
        blocked=parts.blocked,
        pieces=pieces_of(parts.vocabulary),
        break_id=break_of(parts.vocabulary),
        in_eight=in_eight,
    )
    (partial / DECODER).write_bytes(search)
    (partial / VOCABULARY).write_text("\n".join(parts.vocabulary.words) + "\n", encoding="utf-8")
    manifest = manifest_of_smaller(model.manifest, precision)
    manifest |= {"calibration": len(calibration)} if in_eight else {}
    del manifest["signatures"]
    write_manifest(partial, manifest | {"digest": files_digest(partial)})
    folder.rmdir() if folder.exists() else None
    os.replace(partial, folder)


def _encoder(model: ExportedModel, calibration: Sequence[bytes], in_eight: bool) -> bytes:
    size = tuple(model.manifest["encoder"]["image_size"])

    def ranges():
        for data in calibration:
            yield [images.preprocess(tf.constant(data), size)[tf.newaxis]]

    # Float32 features in the place of float16, of which they have the values.
    encode = model.encode
    signature = tf.TensorSpec([1, *size, 3], tf.float32, name="pictures")
    return _flatbuffer(
        lambda pictures: {"features": tf.cast(encode(pictures), tf.float32)},
        model.encoder_state,
        signature,
        in_eight,
        ranges if in_eight else None,
    )


def search_of(
    network: Network,
    standardizer: Standardizer,
    decoding: DecodingConfig,
    feature_shape: tuple[int, ...],
    *,
    dangling: Sequence[int] = (),
    blocked: Blocked | None = None,
    pieces: Pieces | None = None,
    break_id: int | None = None,
    in_eight: bool = True,
) -> bytes:
    """The whole search as a flatbuffer: `features` float32 (1, h, w, D) to `tokens` int32 (1, K, T) and `scores`
    float32 (1, K). `dangling`, `blocked`, `pieces` and `break_id` as in `decode`; weights in eight bits, or float32."""

    def search(features):
        rules = {"dangling": dangling, "blocked": blocked, "pieces": pieces, "break_id": break_id}
        decoded = decode(_Stepwise(network), standardizer(features), decoding, **rules)
        return {"tokens": decoded.tokens, "scores": decoded.scores}

    signature = tf.TensorSpec([1, *feature_shape], tf.float32, name="features")
    return _flatbuffer(search, [network, standardizer], signature, in_eight)


class _Stepwise:
    """A network whose captions go through word by word where all of them are known, too: loops over steps of changing
    sizes, which are faster, cannot be converted."""

    def __init__(self, network: Network):
        self._network, self.attends, self.normalized = network, network.attends, network.normalized
        self.vocabulary_size, self.positions = network.vocabulary_size, network.positions
        self.encode, self.step = network.encode, network.step

    def teacher_forced(self, features, tokens, *, fed=None, training=False, noise=None):
        """Of one picture. As `Network.teacher_forced`, but for training, and without alphas."""
        memory, state = self.encode(features)
        state = tf.nest.map_structure(lambda x: tf.repeat(x, tf.shape(tokens)[1], axis=0), state)
        logits = []
        for t in range(tokens.shape[2] - 1):
            told, state, _ = self.step(memory, state, tokens[0, :, t])
            logits.append(told)
        real = tf.not_equal(tokens[0, :, 1:], text.PAD_ID)
        return tf.boolean_mask(tf.stack(logits, axis=1), real), None


def _flatbuffer(
    function: Callable, uses, signature: tf.TensorSpec, in_eight: bool, ranges: Callable | None = None
) -> bytes:
    module = tf.Module()  # one that holds the function and what it uses: without, the converter writes no signature
    module.uses = uses
    module.run = tf.function(function, input_signature=[signature], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.run.get_concrete_function()], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if in_eight else []
    converter.representative_dataset = ranges
    return converter.convert()


class _Interpreters:
    """Of both files, with memory of their own: for one picture at a time."""

    def __init__(self, folder: Place, threads: int):
        with storage.local(folder) as here:
            self._both = [Interpreter(str(here / name), num_threads=threads) for name in (ENCODER, DECODER)]
        self._encode, self._decode = (one.get_signature_runner() for one in self._both)

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Float32 (H, W, 3) to tokens (K, T) and scores (K,)."""
        features = self._encode(pictures=picture[np.newaxis])["features"]
        found = self._decode(features=features)
        return found["tokens"][0], found["scores"][0]


class LiteModel:
    """A model for LiteRT, loaded. A picture that comes alone has all `threads`; of several, in one call or in several
    calls at the same time, so many at once have a thread each, which takes less time together."""

    batches = False  # pictures go through it one by one, `at_once` of them at the same time

    def __init__(self, folder: Place, threads: int | None = None):
        self.folder, self.manifest = folder, read_manifest(folder)
        self.read = reader(self.manifest)
        self.at_once = threads or os.cpu_count() or 1
        try:
            self._whole = _Interpreters(folder, self.at_once)
            self._vocabulary = text.Vocabulary.load(folder / VOCABULARY)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder} does not load as a LiteRT model: {error}") from error
        size = tuple(self.manifest["encoder"]["image_size"])
        self._counting, self._inside = threading.Lock(), 0
        self._whole_is_free = threading.Lock()
        self._single: queue.SimpleQueue[_Interpreters] = queue.SimpleQueue()  # of a thread each, that nobody uses
        self._made = 0
        self._pixels = tf.function(
            lambda data: images.preprocess_each(data, size),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.at_once, thread_name_prefix="memefly-lite")

    def warm_up(self) -> None:
        """One picture with all threads, and one with each alone: there is but one batch size."""
        picture = warmup_pictures()[0]
        self.predict([picture])
        if self.at_once > 1:
            self.predict([picture] * self.at_once)

    def predict(self, image_bytes: Sequence[bytes]) -> dict[str, np.ndarray]:
        """As `serving_default` of the SavedModel answers: caption, score, captions, scores and error. Thread-safe."""
        if len(image_bytes) == 1:
            found = [self._one(image_bytes[0])]
        else:
            found = list(self._pool.map(self._one, image_bytes))
        K = DecodingConfig(**self.manifest["config"]["decoding"]).beam
        nothing = ([""] * K, np.full(K, NO_SCORE, np.float32))
        rows = [row or nothing for row in found]
        captions = np.array([[c.encode() for c in row] for row, _ in rows], object).reshape(len(rows), K)
        scores = np.array([row for _, row in rows], np.float32).reshape(len(rows), K)
        errors = np.array([b"" if row else NOT_A_PICTURE.encode() for row in found], object)
        return {
            "caption": captions[:, 0],
            "score": scores[:, 0],
            "captions": captions,
            "scores": scores,
            "error": errors,
        }

    def _one(self, image_bytes: bytes) -> tuple[list[str], np.ndarray] | None:
        """Captions and scores; None of what is no picture."""
        with self._counting:
            self._inside += 1
        try:
            pictures, fit = self._pixels(tf.constant([image_bytes], tf.string))
            if not fit.numpy()[0]:
                return None
            ids, scores = self._through(pictures.numpy()[0])
        finally:
            with self._counting:
                self._inside -= 1
        return [self._vocabulary.decode(row) if s > -1e6 else "" for row, s in zip(ids, scores)], scores

    def _through(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if (self._inside == 1 or self.at_once == 1) and self._whole_is_free.acquire(blocking=self.at_once == 1):
            try:
                return self._whole(picture)
            finally:
                self._whole_is_free.release()
        one = self._free()
        try:
            return one(picture)
        finally:
            self._single.put(one)

    def _free(self) -> _Interpreters:
        with self._counting:
            wanted = self._single.empty() and self._made < self.at_once
            self._made += wanted
        if not wanted:
            return self._single.get()
        try:
            return _Interpreters(self.folder, 1)
        except BaseException:
            with self._counting:  # or the others would wait for it
                self._made -= 1
            raise

    def answer(self, image_bytes: Sequence[bytes], knobs: dict) -> dict[str, np.ndarray]:
        """As `predict`. Raises `ModelError` where a knob is not as exported."""
        configured = self.manifest["config"]["decoding"]
        changed = sorted(name for name, value in knobs.items() if value != configured.get(name))
        if changed:
            raise ModelError(
                f"{self.folder} is a model for LiteRT, whose search is fixed ({configured}); {', '.join(changed)} "
                "cannot be set. Use the model it was made of, or one exported with another `decoding`"
            )
        return self.predict(image_bytes)

    def caption(self, image_bytes: Sequence[bytes], batch_size: int = 16, **knobs) -> list[list[Caption]]:
        """As `ExportedModel.caption`. Raises `ModelError` where a knob is not as exported."""
        captions = []
        for start in range(0, len(image_bytes), batch_size):
            out = self.answer(image_bytes[start : start + batch_size], knobs)
            captions += [self.read(*row) for row in zip(out["captions"], out["scores"])]
        return captions
