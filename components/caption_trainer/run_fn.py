"""The `run_fn` of Trainer."""

from __future__ import annotations

from components.caption_trainer import training_process
from components.caption_trainer.training import train_and_export


def run_fn(fn_args) -> None:
    """Trains, and exports to `fn_args.serving_model_dir`; in a process of its own where there are several workers.

    `custom_config`: the sections of the configuration as dicts, `root` (of the pipeline) and `code` (a digest of the
    sources, which keys TFX's cache and the checkpoints).
    """
    if fn_args.custom_config["training"]["strategy"] == "multi_worker":
        training_process.lead(fn_args)
    else:
        train_and_export(fn_args)
