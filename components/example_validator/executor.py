"""StrictExampleValidator's executor."""

from __future__ import annotations

import json

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator import executor
from tfx.components.example_validator.labels import SCHEMA_DIFF_PATH
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils

from components.example_validator import drift
from memefly import storage, textfile
from memefly.errors import AnomalyError
from memefly.exported.manifest import STATISTICS, newest_whole

DRIFT = "drift.json"
_NEW_COLUMN = anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN


class Executor(executor.Executor):
    def Do(self, input_dict, output_dict, exec_properties):
        """Validates every split, and compares them. Raises `AnomalyError` that names split, feature and reason of each
        anomaly."""
        self._found: list[str] = []
        output = super().Do(input_dict, output_dict, exec_properties)
        if self._found:
            raise AnomalyError(
                f"the data contradicts its schema: {'; '.join(self._found)}. Mend the data, or the schema "
                "(data.schema) if the data is right"
            )
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        compared = self._compare(statistics, exec_properties)
        target = storage.at(artifact_utils.get_single_instance(output_dict["anomalies"]).uri)
        rows = textfile.to_json([one.as_dict() for one in compared], indent=1)
        (target / DRIFT).write_text(rows + "\n", encoding="utf-8")
        anomalies = [str(one) for one in compared if one.is_anomaly]
        if anomalies and exec_properties["stops"]:
            raise AnomalyError(
                f"the data has drifted (Jensen-Shannon divergence): {'; '.join(anomalies)}. Look at the data, raise "
                "data.drift or data.skew where it is as it should be, or set data.drift_stops=false"
            )
        return output

    def _compare(self, artifact, exec_properties) -> list[drift.Comparison]:
        def of(split: str):
            return stats_artifact_utils.load_statistics(artifact, split).proto()

        train = of("train")
        compared = drift.compare(train, of("eval"), json.loads(exec_properties["skew"]), "eval")
        baseline = storage.at(exec_properties["baseline"])
        if exec_properties["baseline"] and baseline.is_dir():  # versions, of which the newest is asked
            baseline = (newest_whole(baseline) or baseline) / STATISTICS
        if exec_properties["baseline"] and baseline.is_file():
            thresholds = json.loads(exec_properties["drift"])
            compared += drift.compare(train, drift.load(baseline), thresholds, "the last blessed model's data")
        return compared

    def _Validate(self, inputs, outputs):
        anomalies = super()._Validate(inputs, outputs)
        split = outputs[SCHEMA_DIFF_PATH].rstrip("/").rpartition("Split-")[2]
        for feature, anomaly in sorted(anomalies.anomaly_info.items()):
            if feature in drift.FEATURES and {reason.type for reason in anomaly.reason} == {_NEW_COLUMN}:
                continue  # a schema of one's own need not know of what is counted only here
            reason = anomaly.description or anomaly.short_description
            self._found.append(f"split {split}, feature {feature!r}: {reason}")
        if anomalies.data_missing:  # of a split without Examples TFDV checks nothing else
            self._found.append(f"split {split}: it has no pictures (see data.splits, and the data set's own splits)")
        elif anomalies.HasField("dataset_anomaly_info"):
            self._found.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
        return anomalies
