"""StrictExampleValidator's executor."""

from __future__ import annotations

from tfx.components.example_validator import executor
from tfx.components.example_validator.labels import SCHEMA_DIFF_PATH

from memefly.errors import AnomalyError


class Executor(executor.Executor):
    def Do(self, input_dict, output_dict, exec_properties):
        """Validates every split. Raises `AnomalyError` that names split, feature and reason of each anomaly."""
        self._found: list[str] = []
        output = super().Do(input_dict, output_dict, exec_properties)
        if self._found:
            raise AnomalyError(
                f"the data contradicts its schema: {'; '.join(self._found)}. Mend the data, or the schema "
                "(data.schema) if the data is right"
            )
        return output

    def _Validate(self, inputs, outputs):
        anomalies = super()._Validate(inputs, outputs)
        split = outputs[SCHEMA_DIFF_PATH].rstrip("/").rpartition("Split-")[2]
        for feature, anomaly in sorted(anomalies.anomaly_info.items()):
            reason = anomaly.description or anomaly.short_description
            self._found.append(f"split {split}, feature {feature!r}: {reason}")
        if anomalies.data_missing:  # of a split without Examples TFDV checks nothing else
            self._found.append(f"split {split}: it has no pictures (see data.splits, and the data set's own splits)")
        elif anomalies.HasField("dataset_anomaly_info"):
            self._found.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
        return anomalies
