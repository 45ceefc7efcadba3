"""The `preprocessing_fn` of Transform, and how its statistics are read back.

Analysed on `train` alone: words and channel statistics of the other splits are never seen.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.caption_transform import pieces
from memefly import text
from memefly.spelling import BREAK, Spelling

VOCABULARY = "captions"


def preprocessing_fn(inputs: dict, custom_config: dict) -> dict:
    """Raw features to what the Trainer reads.

    `custom_config`: `max_length` (tokens with `<s>` and `</s>`), `min_count` (occurrences that make a word, or a
    piece), `max_words` (0: no limit), `subwords` (pieces; 0: whole words), and what `memefly.spelling.Spelling` has.

    - tokens: sparse int64 (B, n * max_length), row-major (n captions, max_length);
    - pooled: float32 (B, D), the mean over positions of the standardised features;
    - features, features_flipped, captions, image, image_id: as they came.
    """
    captions = tf.RaggedTensor.from_sparse(inputs["captions"])  # (B, n)
    spelling = Spelling.of_text(custom_config)
    words = spelling.cut_graph(captions.values)  # (N, words)
    counted = tf.ragged.boolean_mask(words, words != BREAK) if spelling.breaks else words  # it has a place of its own
    tokens = text.encode_graph(
        captions.values, _lookup(counted, spelling, custom_config), custom_config["max_length"], spelling
    )  # (N, max_length)
    features_bytes, image = inputs["features"].values, inputs["image"].values  # (B,): one each, though not by schema
    channels = tf.cast(inputs["features_shape"].values[-1], tf.int32)
    features = tf.cast(tf.io.decode_raw(features_bytes, tf.float16), tf.float32)
    features = tf.reshape(features, [tf.shape(features_bytes)[0], -1, channels])  # (B, L, D)
    pooled = tf.reduce_mean(features, axis=1)  # (B, D)
    # Moments over positions first: what is analysed is then a hundredth of the features, and as exact. In float64,
    # since TFX sizes its batches by how fast they go: sums in float32 would depend on how busy the machine was.
    mean = tft.mean(tf.cast(pooled, tf.float64), reduce_instance_dims=False)
    square = tft.mean(tf.cast(tf.reduce_mean(features**2, axis=1), tf.float64), reduce_instance_dims=False)
    std = tf.sqrt(tf.maximum(square - mean**2, 0.0))
    std = tf.where(std > 0, std, tf.ones_like(std))
    mean, std = tf.cast(mean, tf.float32), tf.cast(std, tf.float32)
    return {
        "tokens": tf.RaggedTensor.from_row_lengths(
            tf.reshape(tokens, [-1]), captions.row_lengths() * custom_config["max_length"]
        ).to_sparse(),  # a ragged output would be stored under another name than its own
        "pooled": (pooled - mean) / std,
        "features": features_bytes,
        "features_flipped": inputs["features_flipped"],
        "captions": inputs["captions"],
        "image": image,
        "image_id": inputs["image_id"],
    }


def _lookup(words: tf.RaggedTensor, spelling: Spelling, custom_config: dict):
    """From words to the ids of what the vocabulary has: they themselves, or their pieces."""
    reserved, min_count = text.reserved_tokens(spelling), custom_config["min_count"]
    if custom_config["subwords"]:
        path = pieces.vocabulary(words, pieces.Spec(custom_config["subwords"], min_count, reserved), VOCABULARY)
        return lambda ragged: pieces.apply(ragged, path, text.UNKNOWN_ID)
    vocabulary = tft.vocabulary(
        words.to_sparse(),
        vocab_filename=VOCABULARY,
        frequency_threshold=min_count,
        top_k=custom_config["max_words"] or None,
        reserved_tokens=list(reserved),
    )
    return lambda ragged: tft.apply_vocabulary(ragged, vocabulary, default_value=text.UNKNOWN_ID)


def feature_statistics(output: tft.TFTransformOutput, feature_shape) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation float32 (D,) of every channel over `train`.

    Transform keeps analysed values as constants inside its graph and hands out only functions of its inputs. `pooled`
    is affine in the features, (x - mean) / std, so what it says of a picture that is 0 everywhere and of one that
    is 1 everywhere gives both back.
    """
    layer = output.transform_features_layer()

    def pooled(value: float) -> np.ndarray:
        features = np.full(feature_shape, value, np.float16)
        one = {
            "features": tf.sparse.from_dense([[features.tobytes()]]),
            "features_shape": tf.sparse.from_dense(tf.constant([feature_shape], tf.int64)),
        }
        return layer(one)["pooled"].numpy()[0].astype(np.float64)

    at_zero, at_one = pooled(0.0), pooled(1.0)
    std = 1.0 / (at_one - at_zero)
    return (-at_zero * std).astype(np.float32), std.astype(np.float32)
