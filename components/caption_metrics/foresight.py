"""How well the models that are judged foresee what people wrote, picture by picture."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import apache_beam as beam
import numpy as np

from components.caption_metrics.captions import FORESEEN, strings
from memefly import storage
from memefly.errors import ModelError
from memefly.exported.likelihood import Foresight
from memefly.exported.saved_model import ExportedModel

log = logging.getLogger("memefly.evaluator")


class Foresee(beam.DoFn):
    """Adds to a picture's features what `components.caption_metrics.captions` reads: FORESEEN and a model's name,
    float64 (4,), `Bits` with the picture and without. `models`: the folder of each. Of a model that was not exported by
    memefly nothing is added, since only its captions are known."""

    def __init__(self, models: Mapping[str, str]):
        self._paths = dict(models)

    def setup(self) -> None:
        self._models: dict[str, Foresight] = {}
        for name, path in self._paths.items():
            try:
                self._models[name] = Foresight(ExportedModel(storage.at(path)))
            except ModelError as error:
                log.warning("how well the model %s foresees captions cannot be told: %s", name, error)

    def process(self, extracts: dict) -> Iterator[dict]:
        features = dict(extracts["features"])
        picture = np.asarray(features["image"], dtype=object).reshape(-1)[0]
        captions = strings(features["captions"])
        for name, foresight in self._models.items():
            (foreseen,) = foresight.of([picture], [captions])
            features[f"{FORESEEN}{name}"] = np.array([*foreseen.shown, *foreseen.unseen], np.float64)
        yield {**extracts, "features": features}
