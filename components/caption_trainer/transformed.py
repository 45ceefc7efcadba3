"""What Transform left, as training takes it.

>>> data = read_transformed(graph, train_files, val_files, encoder.feature_shape, 32, spelling)
>>> train(data.examples, data.standardizer, data.vocabulary, …)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow_transform as tft

from components.caption_transform.preprocessing import VOCABULARY
from components.image_features import artifact
from memefly.encoders.standardize import Standardizer
from memefly.errors import ConfigError
from memefly.spelling import Spelling
from memefly.storage import Place
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
    features: artifact.Told,
    store: str | Place,
    max_length: int,
    spelling: Spelling,
    pictures: Mapping[str, Sequence[str]] | None = None,
) -> Transformed:
    """`graph`: the folder of a `transform_graph`; files: TFRecords of its `transformed_examples`; `features`: what
    ImageFeatures says of those in `store`; `spelling`: by which Transform cut captions; `pictures`: TFRecords of the
    Examples that have the pictures, by split. Raises `ConfigError` where no word is left to be learnt."""
    vocabulary_file = tft.TFTransformOutput(graph).vocabulary_file_by_name(VOCABULARY)
    vocabulary = Vocabulary.load(vocabulary_file)
    if len(vocabulary) <= len(RESERVED_TOKENS):
        raise ConfigError(
            "the vocabulary has no word: none occurs in the captions of train as often as text.min_count asks for; "
            "lower text.min_count, or bring more captions"
        )
    return Transformed(
        Examples(
            sorted(train_files), sorted(val_files), features.store(store), features.shape, max_length, spelling,
            pictures or {},
        ),
        features.standardizer(),
        vocabulary,
        vocabulary_file,
    )  # fmt: skip
