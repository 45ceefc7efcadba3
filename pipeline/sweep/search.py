"""Makes the trials of a sweep, one after the other, each a partial run of the pipeline from the Trainer on.

    >>> Sweep("space.yaml", data="data/sample", root="root", source="demo").run()

The nodes before the Trainer run once, or come from the cache; a trial ends at the Trainer, so nothing is judged or
pushed. A trial that was cut off has left checkpoints, which the Trainer finds again when the same trial begins anew.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml

from memefly import metadata_store, textfile, tracking
from memefly.errors import MemeflyError, UsageError, first_line
from pipeline import config as configuration
from pipeline.config import PipelineConfig
from pipeline.sweep import space as spaces
from pipeline.sweep.trials import COMMON, SPACE, WANDB, Folder, Outcome, Trial

_INTERRUPT = signal.SIGUSR1  # SIGINT is ignored where a shell began the command in the background
_TO_BEGIN = 60.0  # seconds, for W&B to take up a sweep, and between trials

OnEvent = Callable[[str, dict], None]


class Runner(Protocol):
    """What runs the pipeline; tests put another in its place."""

    def prepare(self, config: PipelineConfig, on_event: OnEvent) -> str:
        """Runs all that comes before the Trainer; returns what names the transformed data."""

    def train(self, config: PipelineConfig, on_event: OnEvent) -> tuple[dict, str]:
        """Runs the Trainer; returns its metrics on val, and what names the data it was trained on."""


class PipelineRunner:
    """The pipeline on this machine. A partial run hands on the artifacts of the run before, so the next finds them."""

    def __init__(self, data: str, root: str):
        self._data, self._root = data, root

    def prepare(self, config: PipelineConfig, on_event: OnEvent) -> str:
        from pipeline import local_runner

        summary = local_runner.run(config, self._data, self._root, to_node="Transform", on_event=on_event)
        return self._artifacts(summary.run_id)["TransformGraph"]

    def train(self, config: PipelineConfig, on_event: OnEvent) -> tuple[dict, str]:
        import tf_keras
        from tfx.utils import path_utils

        from components.places import Places
        from memefly.exported.manifest import read_manifest
        from pipeline import local_runner

        try:
            summary = local_runner.run(
                config, self._data, self._root, from_node="Trainer", to_node="Trainer", on_event=on_event
            )
        finally:  # or Keras keeps the graphs of every trial
            tf_keras.backend.clear_session()
            gc.collect()
        artifacts = self._artifacts(summary.run_id)
        model = Places.of_root(self._root).absolute(artifacts["Model"])
        manifest = read_manifest(path_utils.serving_model_dir(model))
        return manifest["metrics"]["val"], artifacts["TransformGraph"]

    def _artifacts(self, run_id: str) -> dict[str, str]:
        """Where the artifacts are that a run made, or took over from the one before, by type."""
        with metadata_store.opened(self._root, writes=False) as (store, _):
            context = store.get_context_by_type_and_name("pipeline_run", run_id)
            return {a.type: a.uri for a in store.get_artifacts_by_context(context.id)}


class Sweep:
    """A search over the space in a file, on the configuration `source` with `overrides`.

    `trials` goes before the space's own. Without a `name`, a digest of the space, the configuration and the folder of
    the data is the name, so that the same arguments mean the same sweep.
    """

    def __init__(
        self,
        space_file: str | Path,
        data: str,
        root: str,
        source: str | None = None,
        overrides: Sequence[str] = (),
        trials: int | None = None,
        name: str | None = None,
        runner: Runner | None = None,
        on_event: OnEvent = lambda name, values: None,
    ):
        self._space, self._source, self._overrides = spaces.load(space_file), source, tuple(overrides)
        self._space_file, self._root = Path(space_file), Path(root).resolve()
        self.config = configuration.load(source, overrides)
        self._runner = runner or PipelineRunner(data, root)
        self._on_event = on_event
        wanted, size = trials or self._space.trials, self._space.size
        if wanted is None and size is None:
            raise UsageError(f"method {self._space.method} has no end: say --trials N, or `trials: N` in the space")
        self.wanted = min(n for n in (wanted, size) if n is not None)
        self._common = {
            "space": self._space.model_dump(mode="json", include={"method", "metric", "parameters", "seed"}),
            "config": self.config.model_dump(mode="json", by_alias=True),
            "data": str(Path(data).resolve()),
        }
        # The order of the parameters counts too: trials are numbered by it.
        self._digest = hashlib.sha256(json.dumps(self._common).encode()).hexdigest()[:10]
        self.name = name or self._digest
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UsageError(f"--name {self.name}: expected letters, digits, dots, dashes and underscores")
        self._folder = Folder(Path(root) / "sweeps" / self.name)
        self._trials: list[Trial] = []
        self._transformed = ""

    def run(self) -> Outcome:
        """Makes the trials that are not made yet. A trial that fails is recorded, and the next one begins.

        `on_event` hears ("sweep", {name, folder, wanted, made, wandb}), what the runner tells of the nodes before the
        Trainer, and ("trial", {number, parameters}) before, ("tried", {trial, best, metric}) after each trial.
        Raises `UsageError` where the sweep was begun with something else.
        """
        before = self._folder.read(COMMON)
        if before and before["digest"] != self._digest:
            other = [key for key, value in self._common.items() if before[key] != value]
            raise UsageError(
                f"the sweep {self.name} was begun with another {' and '.join(other) or 'order of parameters'}; "
                "take another --name, or leave it out"
            )
        self._trials = self._folder.trials()
        by_wandb = self._is_led_by_wandb()
        made = {trial.number for trial in self._trials}
        missing = [number for number in range(1, self.wanted + 1) if number not in made]
        self._folder.write(SPACE, textfile.read(self._space_file))
        told = {"name": self.name, "folder": str(self._folder.path), "wanted": self.wanted}
        self._on_event("sweep", told | {"made": self.wanted - len(missing), "wandb": by_wandb})
        if missing:
            self._prepare(before)
            if by_wandb:
                self._run_by_wandb(len(missing))
            else:
                for number in missing:
                    self._try(number, self._space.trial(number))
        self._write_best()
        return self._outcome()

    def _prepare(self, before: dict) -> None:
        self._transformed = self._runner.prepare(self.config, self._on_event)
        if self._trials and before.get("transformed", self._transformed) != self._transformed:
            raise UsageError(
                f"the data, or the code that transforms them, have changed since the sweep {self.name} was begun, and "
                "its trials could not be compared with new ones; begin another with --name"
            )
        common = {"digest": self._digest, "transformed": self._transformed} | self._common
        self._folder.write(COMMON, json.dumps(common, indent=2) + "\n")

    def _try(self, number: int, parameters: dict[str, Any]) -> Trial:
        """Makes one trial and writes down what came of it."""
        self._on_event("trial", {"number": number, "parameters": parameters})
        state: Literal["ok", "failed"] = "ok"
        metrics: dict[str, Any] = {}
        said, run_id, clock = None, None, time.monotonic()

        def on_event(name: str, values: dict) -> None:
            nonlocal run_id
            if name == "start":
                run_id = values["run_id"]

        try:
            metrics, trained_on = self._runner.train(self._config(parameters), on_event)
        except MemeflyError as error:
            if _stopped_by_wandb(error):
                raise
            state, said = "failed", str(error)
        else:
            if trained_on != self._transformed:
                raise UsageError(
                    f"another run came between on {self._root}, and trial {number} was trained on its data; leave the "
                    "root to the sweep, and give the same command again"
                )
        trial = Trial(number, parameters, state, metrics, round(time.monotonic() - clock, 1), run_id, said)
        self._folder.add(trial)
        self._trials.append(trial)
        self._write_best()
        self._on_event("tried", {"trial": trial, "best": self._outcome().best, "metric": self._space.metric.name})
        return trial

    def _write_best(self) -> None:
        outcome = self._outcome()
        if outcome.best:
            self._folder.write_best(outcome, self._config(outcome.best.parameters), self._source)

    def _config(self, parameters: dict[str, Any]) -> PipelineConfig:
        return configuration.load(self._source, [*self._overrides, *map(_override, parameters.items())])

    def _outcome(self) -> Outcome:
        return Outcome(self.name, self._folder.path, self._space.metric, self.wanted, list(self._trials))

    # --- led by W&B ---------------------------------------------------------------------------------------------------

    def _is_led_by_wandb(self) -> bool:
        begun, online = bool(self._folder.read(WANDB)), False
        why = "set WANDB_API_KEY"
        if os.environ.get("WANDB_API_KEY") and os.environ.get("WANDB_MODE", "online") == "online":
            online, why = tracking.check(self._root) == "online", "its server is out of reach"
        if begun and not online:
            raise UsageError(f"W&B leads the sweep {self.name}: {why}, or begin another with --name")
        if self._space.method == "bayes" and not online:
            raise UsageError(f"method bayes is W&B's own: {why}, or take method random")
        return begun or (online and not self._trials)

    def _run_by_wandb(self, count: int) -> None:
        """Has W&B choose what `count` trials try; a sweep that it knows already goes on."""
        import wandb

        errors: list[Exception] = []
        trying = threading.Lock()

        def attempt() -> None:  # in a thread of W&B's agent, which swallows what is raised
            with trying:
                if errors:
                    raise errors[0]
                try:
                    with tracking.Run(self._root, job_type="sweep", config={}) as tracked:
                        self._try_tracked(tracked, wandb)
                except Exception as error:
                    if not _stopped_by_wandb(error):
                        errors.append(error)
                    raise

        with tracking.environment(self._root):
            try:
                known = self._folder.read(WANDB)
                if not known:
                    said, project = {"name": self.name} | self._space.for_wandb(), tracking.project()
                    sweep = tracking.within(_TO_BEGIN, lambda: wandb.sweep(said, project=project), tracking.ask)
                    known = {"sweep": sweep, "project": project}
                    self._folder.write(WANDB, json.dumps(known) + "\n")
                with self._interrupted_where_wandb_is_gone(trying):
                    wandb.agent(known["sweep"], function=attempt, project=known["project"], count=count)
            except Exception as error:
                errors.append(self._without_wandb(error))
        if errors:
            raise errors[0]

    @contextlib.contextmanager
    def _interrupted_where_wandb_is_gone(self, trying: threading.Lock) -> Iterator[None]:
        """W&B's agent waits for ever for a server that does not say what to try."""
        ended, lost, waiting = threading.Event(), [], threading.get_ident()

        def watch() -> None:
            while not ended.wait(_TO_BEGIN):
                try:
                    if not trying.locked():
                        tracking.ask()
                except tracking.OutOfReach as why:
                    lost.append(why)
                    signal.pthread_kill(waiting, _INTERRUPT)
                    return

        before = signal.signal(_INTERRUPT, signal.default_int_handler)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        except KeyboardInterrupt:
            if not lost:
                raise
        finally:
            signal.signal(_INTERRUPT, signal.SIG_IGN)  # what comes now comes too late
            ended.set()
            watcher.join()
            signal.signal(_INTERRUPT, before)
        if lost:
            raise lost[0]

    def _without_wandb(self, why: Exception) -> MemeflyError:
        return MemeflyError(
            f"W&B leads the sweep {self.name}, and cannot be asked what to try: it {first_line(why)}. The trials so "
            "far are kept; give the same command again to go on"
        )

    def _try_tracked(self, tracked: tracking.Run, wandb) -> None:
        """One trial of W&B's choice. The Trainer logs to the same run, which W&B hands out while it is active."""
        if not tracked.online:
            raise self._without_wandb(tracking.OutOfReach("is out of reach"))
        parameters = {key: tracked.run.config[key] for key in self._space.parameters}
        trial = self._try(max((trial.number for trial in self._trials), default=0) + 1, parameters)
        if wandb.run is None:  # the Trainer has ended it
            return
        if trial.state == "failed":
            tracked.run.finish(exit_code=1)
        else:  # the last that is logged counts: the best weights' metrics, not the last epoch's
            tracked.log({f"val_{k}": v for k, v in trial.metrics.items() if isinstance(v, (int, float))})


def _override(item: tuple[str, Any]) -> str:
    """As `--set` takes it."""
    key, value = item
    said = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return f"{key}={said}".removesuffix("...\n")  # PyYAML ends a document that is but a word with dots


def _stopped_by_wandb(error: BaseException | None) -> bool:
    """Whether W&B's agent ended the trial: it throws a bare Exception into the trial's thread."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:  # what the local runner raises is a cause of its own cause
        if type(error) is Exception and not error.args:
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False
