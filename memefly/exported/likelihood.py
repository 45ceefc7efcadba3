"""How likely an exported model takes captions.

>>> likelihood_of("root/serving/captioner").log_probs(features, written)
>>> bits([both.shown for both in Foresight(model).of(pictures, captions)])      # memefly.metrics.information
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tensorflow as tf

from memefly.exported.manifest import newest_version, read_manifest
from memefly.exported.parts import load_parts
from memefly.exported.saved_model import ExportedModel
from memefly.likelihood import Likelihood
from memefly.metrics.information import Bits, Foreseen
from memefly.spelling import Spelling
from memefly.storage import Place


def likelihood_of(folder: str | Place) -> Likelihood:
    """Of the newest version in a folder, or of the version that it is; of a picture are taken its features float16
    (h, w, D). Raises `ModelError`."""
    folder = newest_version(folder)
    manifest, parts = read_manifest(folder), load_parts(folder)
    text = manifest["config"].get("text", {})
    spelling = Spelling.of_text(text)
    signature = tf.TensorSpec([None, *manifest["encoder"]["feature_shape"]], tf.float16)
    return Likelihood(parts.network, parts.standardizer, signature, parts.vocabulary, spelling)


class Foresight:
    """How well a model foresees what people write of pictures."""

    def __init__(self, model: ExportedModel):
        self._model, self._likelihood = model, likelihood_of(model.folder)

    def of(self, pictures: Sequence[bytes], captions: Sequence[Sequence[str]]) -> Iterator[Foreseen]:
        """Of each picture; `pictures` as `ExportedModel.features` has them."""
        for features, written in zip(self._model.features(pictures), captions):
            counted = [self._likelihood.written(caption) for caption in written]
            yield Foreseen(
                *(Bits.of(self._likelihood.log_probs(one, counted).tolist(), counted) for one in (features, None))
            )
