"""The `preprocessing_fn` of Transform. It sees captions and the digests of their pictures, and no picture.

Analysed on `train` alone: words of the other splits are never seen.
"""

from __future__ import annotations

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
    - captions, image_id: as they came.
    """
    captions = tf.RaggedTensor.from_sparse(inputs["captions"])  # (B, n)
    spelling = Spelling.of_text(custom_config)
    words = spelling.cut_graph(captions.values)  # (N, words)
    counted = tf.ragged.boolean_mask(words, words != BREAK) if spelling.breaks else words  # it has a place of its own
    tokens = text.encode_graph(
        captions.values, _lookup(counted, spelling, custom_config), custom_config["max_length"], spelling
    )  # (N, max_length)
    return {
        "tokens": tf.RaggedTensor.from_row_lengths(
            tf.reshape(tokens, [-1]), captions.row_lengths() * custom_config["max_length"]
        ).to_sparse(),  # a ragged output would be stored under another name than its own
        "captions": inputs["captions"],
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
