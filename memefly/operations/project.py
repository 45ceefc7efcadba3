"""A projection of features onto fewer channels, fitted on the pictures of train that a root has features of.

>>> fit("root", channels=256, out="projection.npz").kept      # 0.83 of the variance
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tqdm import tqdm

from memefly import layout
from memefly.encoders import EncoderConfig, projection
from memefly.encoders.config import fitted_on
from memefly.encoders.feature_store import FeatureStore
from memefly.encoders.projection import Projection
from memefly.errors import FeaturesError, UsageError
from memefly.operations import runs
from memefly.storage import Place

_EXAMPLES = "ImageFeatures/features"


def fit(root: str | Path, channels: int, out: str | Place, pictures: int = 2000) -> Projection:
    """Of the newest features in `root`, by at most so many pictures of train, in an order of chance that is always the
    same; written to `out`. Raises `UsageError` where there are none, or where they are projected themselves."""
    from memefly.datasets.examples import read

    places = layout.of(root)
    folder = places.artifacts / _EXAMPLES
    made = [one for one in folder.iterdir() if (one / "features.json").is_file()] if folder.is_dir() else []
    if not made:
        raise UsageError(f"{root}: has no features yet; expected a root where the pipeline ran as far as ImageFeatures")
    newest = max(made, key=lambda one: int(one.name))
    told = json.loads((newest / "features.json").read_text())
    config = _encoder(root, told["encoder"])
    if config.projection:
        raise UsageError(f"{root}: its features are projected themselves, by {config.projection}; give another root")
    keys = sorted({one["image_id"].bytes_list.value[0].decode() for one in read(newest / "Split-train")})
    random.Random(0).shuffle(keys)
    store, fitting = FeatureStore(places.features, told["encoder"]), projection.Fitting(told["shape"][-1])
    for key in tqdm(keys[:pictures], desc="fits", unit=" pictures", disable=None):
        features = store.get(key)
        if features is None:
            raise FeaturesError(
                f"the features of picture {key} are gone from {store.folder}, or were damaged; run the pipeline on "
                f"{root} again: ImageFeatures encodes what is missing"
            )
        fitting.add(features)
    found = fitting.solve(channels, fitted_on(config))
    projection.write(out, found)
    return found


def _encoder(root: str | Path, digest: str) -> EncoderConfig:
    """As the newest run had it whose features are of this encoder."""
    for run in runs.read(root):
        asked = run.summary.get("configuration", {}).get("encoder")
        if asked and run.summary.get("encoder", {}).get("digest") == digest:
            return EncoderConfig(**asked)
    raise UsageError(f"{root}: none of its runs says which encoder its features are of; run the pipeline on it once")
