"""CaptionTrainer's executor."""

from __future__ import annotations

from tfx.components.trainer import executor
from tfx.types import artifact_utils


class Executor(executor.GenericExecutor):
    def _GetFnArgs(self, input_dict, output_dict, exec_properties):
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        pictures = artifact_utils.get_single_instance(input_dict["pictures"])
        fn_args.custom_config["features"] = artifact_utils.get_single_uri(input_dict["features"])
        fn_args.custom_config["pictures"] = {
            split: artifact_utils.get_split_uri([pictures], split) for split in ("train", "val")
        }
        return fn_args
