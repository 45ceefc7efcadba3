"""Searches hyper-parameters: every trial trains anew on the same transformed data, and the best is written down.

    >>> outcome = Sweep("space.yaml", data="data/sample", root="root", source="demo", trials=8).run()
    >>> outcome.best.parameters, outcome.best_file

`space` says what is searched, `trials` what is kept of it, `search` makes the trials, by W&B's choice where its key
is there.
"""

from pipeline.sweep.search import Sweep
from pipeline.sweep.space import Space, load
from pipeline.sweep.trials import LOG, Outcome, Trial, describe

__all__ = ["LOG", "Outcome", "Space", "Sweep", "Trial", "describe", "load"]
