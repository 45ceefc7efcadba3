"""Tracks runs in Weights & Biases, and never lets it fail, hold or delay them.

    >>> with tracking.Run(root, job_type="train", config={…}) as run:
    ...     run.log({"loss": 2.3}, step=20)

Online where WANDB_API_KEY is set and the server answers, else offline; `wandb sync` sends those later. All of it
lies under the pipeline's own root, no key is ever stored, and W&B is imported only when a run starts. WANDB_MODE,
WANDB_PROJECT, WANDB_ENTITY and WANDB_BASE_URL mean what they mean to W&B; WANDB_MODE=disabled turns it off.
"""

from memefly.tracking.run import Run, opened
from memefly.tracking.server import ONLINE, OutOfReach, ask, check, environment, project, within

__all__ = ["ONLINE", "OutOfReach", "Run", "ask", "check", "environment", "opened", "project", "within"]
