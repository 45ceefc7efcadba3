"""Picture bytes to captions in one graph, and the SavedModel of it; `memefly.exported` has its signatures.

>>> export(captioner, folder, manifest)
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from memefly import images, storage, text
from memefly.decoding import KNOBS, Decoded, decode
from memefly.decoding_config import PREFIX, DecodingConfig
from memefly.encoders.inference_graph import InferenceGraph
from memefly.encoders.standardize import Standardizer
from memefly.exported.manifest import LAST, SIGNATURES, model_digest, write_manifest
from memefly.exported.warmup import warmup_pictures, write_warmup
from memefly.networks import Network
from memefly.rules import break_of, dangling_ids, pieces_of
from memefly.safety.constraint import Blocked
from memefly.spelling import PLAIN, Spelling
from memefly.storage import Place

NO_SCORE = -1e9  # of a place that holds no caption
NOT_A_PICTURE = f"not decoded: expected a JPEG, PNG, BMP or GIF, whole, of at most {images.MAX_PIXELS:,} pixels"


class _Lines(tf.lookup.TextFileInitializer):
    """A table's name in the graph is its initializer's, which would be the file's path on the machine that trained."""

    _shared_name = "vocabulary"


class _Words(_Lines):
    _shared_name = "vocabulary_ids"


class Captioner(tf.Module):
    """Picture bytes to captions, all in one graph."""

    def __init__(
        self,
        encoder: InferenceGraph,
        standardizer: Standardizer,
        network: Network,
        vocabulary_file: str | Path,
        decoding: DecodingConfig,
        blocked: Blocked | None = None,
        spelling: Spelling = PLAIN,
    ):
        super().__init__(name="captioner")
        self.encoder_state = encoder.weights
        self.standardizer, self.network = standardizer, network
        self._decoding = decoding
        self.image_size, self.feature_shape = tuple(encoder.input_shape[1:3]), tuple(encoder.output_shape[1:])
        self._blocked = blocked
        vocabulary = text.Vocabulary.load(vocabulary_file)
        self._dangling, self._pieces = dangling_ids(vocabulary), pieces_of(vocabulary)
        self._break, self._spelling, self._has_pieces = break_of(vocabulary), spelling, vocabulary.has_pieces
        # Pictures float32 (B, H, W, 3) in [-1, 1] to features float16 (B, h, w, D): what `reduced` makes small.
        self.encode = encoder.function
        # Attached to this object, the table and its file are saved with it and initialised by every loader.
        line_to_word = _Lines(
            str(vocabulary_file), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
            tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        )  # fmt: skip
        self.words = tf.lookup.StaticHashTable(line_to_word, default_value=text.UNKNOWN)
        word_to_line = _Words(
            str(vocabulary_file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
        )  # fmt: skip
        self.ids = tf.lookup.StaticHashTable(word_to_line, default_value=text.UNKNOWN_ID)

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

    def _search(self, features, overrides=None, prefix=None, with_alphas=False) -> Decoded:
        return decode(
            self.network,
            self.standardizer(features),
            self._decoding,
            self._dangling,
            self._blocked,
            pieces=self._pieces,
            break_id=self._break,
            overrides=overrides,
            prefix=prefix,
            with_alphas=with_alphas,
        )

    def _begun(self, prefix):
        return text.prefix_graph(prefix, self.ids.lookup, self._spelling, self._has_pieces)

    def _told(self, features, fit, overrides=None, prefix=None):
        begun = self._begun(prefix) if prefix is not None else None
        decoded = self._search(features, overrides, begun[0] if begun else None)
        scores = tf.where(fit[:, tf.newaxis], decoded.scores, NO_SCORE)  # (B, K)
        return scores, tf.where(scores > -1e6, text.decode_graph(decoded.tokens, self._spell, begun), "")

    def _caption(self, image_bytes, overrides=None, prefix=None):
        features, fit = self.features(image_bytes)
        scores, captions = self._told(features, fit, overrides, prefix)
        return {
            "caption": captions[:, 0],
            "score": scores[:, 0],
            "captions": captions,
            "scores": scores,
            "error": tf.where(fit, "", NOT_A_PICTURE),
        }

    def _judged(self, image):
        """Captions of each picture, string (B, judged), drawn with as many seeds, one after the other: all at once
        would take so many times the memory."""
        features, fit = self.features(image)
        seeds = self._decoding.seed + tf.range(self._decoding.judged)
        drawn = tf.map_fn(
            lambda seed: self._told(features, fit, {"seed": tf.fill(tf.shape(image), seed)})[1][:, 0],
            seeds,
            fn_output_signature=tf.TensorSpec([None], tf.string),
            parallel_iterations=1,
        )
        return {"caption": drawn[0], "drawn": tf.transpose(drawn)}

    def _caption_with(self, image_bytes, knobs, prefix):
        each = {name: tf.broadcast_to(value, tf.shape(image_bytes)) for name, value in knobs.items()}
        return self._caption(image_bytes, each, tf.broadcast_to(prefix, tf.shape(image_bytes)))

    def _look(self, image_bytes, caption):
        features, fit = self.features(image_bytes)
        # What is begun with a whole caption and its </s> is said as it is.
        said, _ = self._begun(caption)
        length = tf.math.count_nonzero(said, axis=1, dtype=tf.int32)[:, tf.newaxis]  # (B, 1), padding is 0
        said = tf.pad(said, [[0, 0], [0, 1]], constant_values=text.PAD_ID)
        ends = tf.equal(tf.range(tf.shape(said)[1]), length) & (length > 0)
        decoded = self._search(features, prefix=tf.where(ends, text.END_ID, said), with_alphas=True)
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
        kinds[PREFIX], nothing = tf.TensorSpec([None], tf.string, name=PREFIX), tf.constant([""])

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
            min_p=default["min_p"],
            typical_p=default["typical_p"],
            seed=default["seed"],
            boxes=default["boxes"],
            candidates=default["candidates"],
            mmi=default["mmi"],
            repetition=default["repetition"],
            difference=default["difference"],
            prefix=nothing,
        ):
            knobs = {k: v for k, v in locals().items() if k in KNOBS}
            return self._caption_with(image_bytes, knobs, prefix)

        look = tf.function(  # one trace for two
            lambda image_bytes, caption: self._look(image_bytes, caption),
            input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("image_bytes", "caption")],
            autograph=False,
        )
        return {
            "serving_default": caption,
            "decode": tf.function(
                caption_with,
                input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes"), *kinds.values()],
                autograph=False,
            ),
            "explain": function(
                lambda image_bytes: look(image_bytes, tf.fill(tf.shape(image_bytes), "")), "image_bytes"
            ),
            "look": look,
            "evaluate": function(self._judged if self._decoding.judged > 1 else lambda image: caption(image), "image"),
        }


def export(captioner: Captioner, folder: str | Place, manifest: dict) -> None:
    """Writes the SavedModel with its manifest and warm-up requests; `manifest` gains the digest of the weights."""
    with storage.written(folder, last=LAST) as made:
        tf.saved_model.save(captioner, str(made), signatures=captioner.signatures())
        write_warmup(made, warmup_pictures())
        write_manifest(made, {**manifest, "signatures": list(SIGNATURES), "digest": model_digest(made)})
