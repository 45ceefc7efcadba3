"""How far captions and pictures are from others: TFDV's drift and skew, with what they are computed of.

>>> compare(statistics, baseline, {"words": 0.3}, "the last blessed model's")
[Comparison(feature="words", against="the last blessed model's", value=0.02, threshold=0.3, here=…, there=…)]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from memefly.storage import Place

FEATURES = {
    "caption_words": schema_pb2.INT,
    "words": schema_pb2.BYTES,
    "group": schema_pb2.BYTES,
    "width": schema_pb2.INT,
    "height": schema_pb2.INT,
}
SHOWN = 20  # values of a distribution that is drawn


@dataclass(frozen=True)
class Comparison:
    """`value` is the Jensen-Shannon divergence (Lin, 1991; base 2, 0 to 1); `here` and `there` are shares of what is
    commonest, or of ranges, by their label."""

    feature: str
    against: str
    value: float
    threshold: float
    here: list[tuple[str, float]]
    there: list[tuple[str, float]]

    @property
    def is_anomaly(self) -> bool:
        return self.value > self.threshold

    def as_dict(self) -> dict:
        return {**asdict(self), "anomaly": self.is_anomaly}

    def __str__(self) -> str:
        return f"{self.feature} against {self.against}: {self.value:.3f}, over {self.threshold:g}"


def compare(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    others: statistics_pb2.DatasetFeatureStatisticsList,
    thresholds: Mapping[str, float],
    against: str,
) -> list[Comparison]:
    """By feature that both have."""
    here, there = _features(statistics), _features(others)
    names = [name for name in thresholds if name in here and name in there]
    schema = schema_pb2.Schema()
    for name in names:
        feature = schema.feature.add(name=name, type=FEATURES[name])
        feature.drift_comparator.jensen_shannon_divergence.threshold = thresholds[name]
    found = tfdv.validate_statistics(statistics, schema, previous_statistics=others)
    measured = {
        ".".join(info.path.step): measurement.value
        for info in found.drift_skew_info
        for measurement in info.drift_measurements
    }
    return [
        Comparison(name, against, measured[name], thresholds[name], *_shares(here[name], there[name]))
        for name in names
        if name in measured
    ]


def kept(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Only what is compared: no captions."""
    few = statistics_pb2.DatasetFeatureStatisticsList()
    few.CopyFrom(statistics)
    for dataset in few.datasets:
        features = [feature for feature in dataset.features if feature.path.step[0] in FEATURES]
        del dataset.features[:]
        dataset.features.extend(features)
    return few


def load(path: str | Place) -> statistics_pb2.DatasetFeatureStatisticsList:
    return tfdv.load_stats_binary(str(path))


def _features(statistics) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    """Those that have values. A group that nobody named is none."""
    found = {feature.path.step[0]: feature for feature in statistics.datasets[0].features}
    group = found.get("group")
    if group and group.string_stats.unique <= 1:
        del found["group"]
    return {name: feature for name, feature in found.items() if name in FEATURES}


def _shares(here, there) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    if here.WhichOneof("stats") == "string_stats":
        mine, theirs = _ranks(here), _ranks(there)
        together = {label: mine.get(label, 0) + theirs.get(label, 0) for label in {*mine, *theirs}}
        labels = sorted(together, key=lambda label: (-together[label], label))[:SHOWN]
        return [(one, mine.get(one, 0.0)) for one in labels], [(one, theirs.get(one, 0.0)) for one in labels]
    low = min(here.num_stats.min, there.num_stats.min)
    high = max(here.num_stats.max, there.num_stats.max)
    wide = max(1.0, (high - low) / SHOWN)
    edges = [low + wide * i for i in range(int((high - low) / wide) + 1)]
    return _ranges(here, edges, wide), _ranges(there, edges, wide)


def _ranks(feature) -> dict[str, float]:
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets) or 1.0
    return {bucket.label: bucket.sample_count / total for bucket in buckets}


def _ranges(feature, edges: list[float], wide: float) -> list[tuple[str, float]]:
    """A histogram of TFDV's on other edges; what is in a bucket is spread evenly over it."""
    histograms = feature.num_stats.histograms
    standard = next((one for one in histograms if one.type == statistics_pb2.Histogram.STANDARD), histograms[0])
    total = sum(bucket.sample_count for bucket in standard.buckets) or 1.0
    shares = []
    for edge in edges:
        share = 0.0
        for bucket in standard.buckets:
            width = bucket.high_value - bucket.low_value
            inside = min(bucket.high_value, edge + wide) - max(bucket.low_value, edge)
            if width <= 0:
                share += bucket.sample_count if edge <= bucket.low_value < edge + wide else 0
            elif inside > 0:
                share += bucket.sample_count * inside / width
        shares.append((f"{edge:g}", share / total))
    return shares
