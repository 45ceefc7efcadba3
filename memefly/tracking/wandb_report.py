"""A report in W&B, from code: curves, tables and artifacts of the project's runs, side by side.

    >>> report = build("ada", "memefly", "How our captions get on")
    >>> report.save()

It is a template: panels name tables and metrics, and show what the runs that are there have of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from memefly.errors import UsageError, first_line
from memefly.tracking import server

_CURVES = (
    ("what it learns", ["cross_entropy/loss", "self_critical/loss", "fine_tuning/loss"]),
    ("CIDEr-D on val", ["val_cider"]),
    ("BLEU-4 on val", ["val_bleu4"]),
    ("bits a character on val", ["val_bits_a_character"]),
)
PARTS = (
    ("What was brought", "log-raw-data", ("raw/pictures",)),
    ("What became of it", "process-data", ("processed/cleaning", "processed/captions", "processed/projection")),
    ("What it says as it learns", "train", ("samples",)),
    ("How good it is, and what the gate said", "evaluate", ("eval/metrics", "eval/gate", "eval/slices")),
    ("What it says", "evaluate", ("eval/pictures", "eval/templates", "eval/projection")),
)


def build(entity: str, project: str, title: str) -> Any:
    """A report of `wandb_workspaces.reports.v2`, which is not saved yet."""
    import wandb_workspaces.reports.v2 as reports

    def runs(job_type: str) -> Any:
        wanted = f"Metric('JobType') == '{job_type}'"
        return reports.Runset(entity=entity, project=project, name=job_type, filters=wanted)

    blocks: list[Any] = [
        reports.TableOfContents(),
        reports.H2("Training"),
        reports.PanelGrid(
            runsets=[runs("train")],
            panels=[reports.LinePlot(title=name, x="Step", y=[*metrics]) for name, metrics in _CURVES],
        ),
    ]
    for heading, job_type, tables in PARTS:
        blocks += [
            reports.H2(heading),
            reports.PanelGrid(
                runsets=[runs(job_type)],
                panels=[reports.WeavePanelSummaryTable(table_name=table) for table in tables],
            ),
        ]
    blocks += [
        reports.H2("Where the model comes from"),
        reports.WeaveBlockArtifact(entity=entity, project=project, artifact="captioner", tab="lineage"),
    ]
    return reports.Report(entity=entity, project=project, title=title, blocks=blocks, width="fluid")


def save(root: str | Path, title: str) -> str:
    """Saves it in the project that runs are tracked in; its URL. Raises `UsageError` as `server.wanted` does,
    and where the server refuses it."""
    with server.wanted(root):
        import wandb

        entity = os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
        try:
            return server.within(60.0, lambda: build(entity, server.project(), title).save().url, server.ask)
        except Exception as error:
            raise UsageError(f"W&B did not take the report: {first_line(error)}") from error
