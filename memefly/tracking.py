"""Tracks runs in Weights & Biases: online where WANDB_API_KEY is set, else offline, under the pipeline's own root.

    >>> with Run(root, job_type="train", config={…}) as run:
    ...     run.log({"loss": 2.3}, step=20)

`memefly wandb-sync` (or `wandb sync`) sends offline runs later. Nothing is written outside `root`, no key is ever
stored, and W&B is imported only when a run starts. WANDB_MODE=disabled turns it off.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Run:
    """One W&B run; closed however the block ends. Inside a run that is open already, it is that one."""

    def __init__(self, root: str | Path, job_type: str, config: dict, project: str = "memefly"):
        self._folder = Path(root) / "wandb"
        self._job_type, self._config, self._project = job_type, config, project

    def __enter__(self) -> Run:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        # W&B itself says whether WANDB_MODE is one of its modes.
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        # Artifacts are staged under WANDB_DATA_DIR: left at its default, syncing from elsewhere would lose them.
        self._environment = {key: os.environ.get(key) for key in ("WANDB_DATA_DIR", "WANDB_SILENT")}
        os.environ.update(WANDB_DATA_DIR=str(self._folder), WANDB_SILENT="true")
        self._wandb = wandb
        self._ours = wandb.run is None  # else it is the run of a sweep's trial, which who opened it closes
        self.run = wandb.init(
            dir=str(self._folder.parent),
            mode=mode,
            settings=wandb.Settings(console="off"),
            job_type=self._job_type,
            config=self._config,
            project=self._project,
        )
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._ours:
            self.run.finish(exit_code=0 if kind is None else 1)
        for key, value in self._environment.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)

    def log(self, values: dict, step: int | None = None) -> None:
        self.run.log(values, step=step)

    def log_table(self, key: str, columns: Sequence[str], rows: Iterable[Sequence], step: int | None = None) -> None:
        """A table; encoded pictures (bytes) and Pillow's become pictures in it, lists of floats vectors, which W&B can
        project."""
        from PIL import Image

        def cell(value):
            if isinstance(value, bytes):
                value = Image.open(io.BytesIO(value)).convert("RGB")
            return self._wandb.Image(value) if isinstance(value, Image.Image) else value

        table = self._wandb.Table(columns=list(columns))
        for row in rows:
            table.add_data(*map(cell, row))
        self.run.log({key: table}, step=step)

    def summarize(self, values: dict) -> None:
        self.run.summary.update(values)
