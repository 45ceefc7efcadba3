"""What is kept of a sweep, in `ROOT/sweeps/<name>/`.

space.yaml     what was searched, as it was written
sweep.json     what all trials have in common: the configuration, the data
trials.jsonl   a line a finished trial
best.yaml      a configuration for --config: the best trial's
wandb.json     where W&B chooses the parameters: the sweep that a second call joins
sweep.log      what libraries said

>>> Folder(Path("root/sweeps/first")).trials()
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from memefly import textfile
from pipeline import config as configuration
from pipeline.config import PipelineConfig
from pipeline.sweep.space import Metric

TRIALS, BEST, SPACE, COMMON, WANDB = "trials.jsonl", "best.yaml", "space.yaml", "sweep.json", "wandb.json"
LOG = "sweep.log"
_ROWS = 5  # of the table of the best


@dataclass(frozen=True)
class Trial:
    """A finished trial, as a line of `trials.jsonl` has it."""

    number: int
    parameters: dict[str, Any]
    state: Literal["ok", "failed"]
    metrics: dict[str, Any] = field(default_factory=dict)  # of the best weights, on val
    seconds: float = 0.0
    run_id: str | None = None  # ROOT/runs/<run_id>
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a sweep."""

    name: str
    folder: Path
    metric: Metric
    wanted: int
    trials: list[Trial]

    @property
    def ranked(self) -> list[Trial]:
        """Trials that ended well, best first; of equals the earlier."""
        sign = -1 if self.metric.goal == "maximize" else 1
        ended = [trial for trial in self.trials if trial.state == "ok"]
        return sorted(ended, key=lambda trial: (sign * trial.metrics[self.metric.name], trial.number))

    @property
    def best(self) -> Trial | None:
        return next(iter(self.ranked), None)

    @property
    def best_file(self) -> Path:
        return self.folder / BEST

    def as_dict(self) -> dict:
        best: dict[str, Any] = {"best": None, "best_config": None}
        if self.best:
            best = {"best": asdict(self.best), "best_config": str(self.best_file)}
        said = {"name": self.name, "folder": str(self.folder), "metric": self.metric.name, "goal": self.metric.goal}
        return said | {"wanted": self.wanted} | best | {"trials": [asdict(trial) for trial in self.trials]}


class Folder:
    """The files of one sweep."""

    def __init__(self, path: Path):
        self.path = path

    def trials(self) -> list[Trial]:
        """The finished trials; a last line that was cut off in the writing is cut away."""
        path = self.path / TRIALS
        content = path.read_bytes() if path.exists() else b""
        whole, newline, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(path, len(whole + newline))
        return [Trial(**json.loads(line)) for line in whole.splitlines()]

    def add(self, trial: Trial) -> None:
        """A line more in `trials.jsonl`; it is on the disk when this returns."""
        with (self.path / TRIALS).open("ab") as stream:
            stream.write(textfile.to_json(asdict(trial)).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def read(self, file: str) -> dict:
        """What a JSON file says; nothing where there is none."""
        try:
            return json.loads((self.path / file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def write(self, file: str, text: str) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f".{file}-{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path / file)

    def write_best(self, outcome: Outcome, config: PipelineConfig, source: str | None) -> None:
        """The configuration of the best trial: what differs from the preset it starts from, and all that was tried."""
        best, preset = outcome.best, _preset(source)
        assert best is not None  # asked for only where there is one
        theirs = configuration.load(preset).model_dump(mode="json", by_alias=True)
        ours = config.model_dump(mode="json", by_alias=True)
        said = {"preset": preset} if preset else {}
        said |= _difference(ours, theirs, {tuple(key.split(".")) for key in best.parameters})
        score = f"{outcome.metric.name} {best.metrics[outcome.metric.name]:.4f} on val"
        about = f"# Trial {best.number} of the sweep {outcome.name}: {score}.\n"
        self.write(BEST, about + yaml.safe_dump(said, sort_keys=False, allow_unicode=True))


def _preset(source: str | None) -> str | None:
    """The preset that a configuration starts from."""
    if source is None or source in configuration.presets():
        return source
    return (yaml.safe_load(textfile.read(source)) or {}).get("preset")


def _difference(ours: dict, theirs: dict, always: set[tuple[str, ...]], at: tuple[str, ...] = ()) -> dict:
    """What `ours` has and `theirs` has not, and in any case what lies at `always`."""
    found = {}
    for key, value in ours.items():
        here = (*at, key)
        if isinstance(value, dict) and here not in always:
            if inner := _difference(value, theirs[key], always, here):
                found[key] = inner
        elif here in always or value != theirs[key]:
            found[key] = value
    return found


def told(parameters: dict[str, Any]) -> str:
    """Parameters in one line."""
    short = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in parameters.items()}
    return "  ".join(f"{key}={value}" for key, value in short.items())


def describe(outcome: Outcome) -> list[str]:
    """What came of a sweep, for people."""
    made, failed = len(outcome.trials), sum(trial.state == "failed" for trial in outcome.trials)
    lines = [f"{made} of {max(made, outcome.wanted)} trials made" + (f", {failed} failed" if failed else "")]
    if outcome.best:
        lines += [f"{'trial':>7}  {outcome.metric.name:>8}"]
        lines += [
            f"{trial.number:7d}  {trial.metrics[outcome.metric.name]:8.4f}  {told(trial.parameters)}"
            for trial in outcome.ranked[:_ROWS]
        ]
    lines.append(f"trials:          {outcome.folder / TRIALS}")
    if outcome.best:
        lines.append(f"the best:        memefly run … --config {outcome.best_file}")
    return lines
