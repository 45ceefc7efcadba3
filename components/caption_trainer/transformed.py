"""What Transform left, as training takes it.

>>> data = read_transformed(graph, train_files, val_files, encoder.feature_shape, 32, spelling)
>>> train(data.examples, data.standardizer, data.vocabulary, …)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow_transform as tft

from components.caption_transform.preprocessing import VOCABULARY, feature_statistics
from memefly.encoders.standardize import Standardizer
from memefly.errors import ConfigError
from memefly.spelling import Spelling
from memefly.text import RESERVED_TOKENS, Vocabulary
from memefly.training import Examples


@dataclass(frozen=True)
class Transformed:
    examples: Examples
    standardizer: Standardizer
    vocabulary: Vocabulary
    vocabulary_file: str


def read_transformed(
    graph: str,
    train_files: Sequence[str],
    val_files: Sequence[str],
    feature_shape: tuple[int, int, int],
    max_length: int,
    spelling: Spelling,
) -> Transformed:
    """`graph`: the folder of a `transform_graph`; files: TFRecords of its `transformed_examples`; `feature_shape`
    (h, w, D): of the encoder whose features they hold; `spelling`: by which Transform cut captions. Raises
    `ConfigError` where no word is left to be learnt."""
    output = tft.TFTransformOutput(graph)
    vocabulary_file = output.vocabulary_file_by_name(VOCABULARY)
    vocabulary = Vocabulary.load(vocabulary_file)
    if len(vocabulary) <= len(RESERVED_TOKENS):
        raise ConfigError(
            "the vocabulary has no word: none occurs in the captions of train as often as text.min_count asks for; "
            "lower text.min_count, or bring more captions"
        )
    return Transformed(
        Examples(sorted(train_files), sorted(val_files), feature_shape, max_length, spelling),
        Standardizer(*feature_statistics(output, feature_shape)),
        vocabulary,
        vocabulary_file,
    )
