"""LiveModel's executor."""

from __future__ import annotations

import logging

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from memefly import storage
from memefly.exported.manifest import LAST, newest_whole

log = logging.getLogger("memefly.live_model")


class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict["model"])
        storage.at(model.uri).mkdir(parents=True, exist_ok=True)
        newest = newest_whole(exec_properties["destination"], contents=True)
        if newest is None:
            log.info("no model is live yet")
            return
        storage.copy_tree(newest, path_utils.serving_model_path(model.uri), last=LAST)
        model.set_string_custom_property("version", newest.name)
