"""One run in W&B, which goes on offline where its server does not."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from memefly.errors import first_line
from memefly.tracking import server

log = logging.getLogger("memefly.tracking")

OPENED = "opened.tsv"  # in ROOT/wandb: the job type and the id of every run, in their order
CUT = ".memefly-cut"  # in the folder of an online run whose server has not got all of it
_open: list[Run] = []  # of this process, the outermost first

# Seconds, as long as the server answers.
_TO_START = 15.0
_TO_LOG = 60.0  # a table is sent before W&B goes on, what else is logged is not
_TO_FINISH = 120.0  # all that was not sent yet

# W&B tries for hours what it cannot send, and does not let the process end meanwhile.
_LIMITS = {
    "init_timeout": server.PATIENCE,
    **{f"x_{part}_timeout_seconds": server.PATIENCE for part in ("graphql", "file_stream", "file_transfer")},
    **{f"x_{part}_retry_max": 2 for part in ("graphql", "file_stream", "file_transfer")},
    **{f"x_{part}_retry_wait_max_seconds": 2.0 for part in ("graphql", "file_stream", "file_transfer")},
}


class Run:
    """One W&B run; closed however the block ends. Inside a run that is open already, it is that one.

    Raises `UsageError` on entering, as `check` does; what W&B itself raises is told and costs nobody else a thing.
    """

    run: Any  # W&B's
    online: bool

    def __init__(self, root: str | Path, job_type: str, config: dict):
        self._root = Path(root).resolve()
        self._job_type, self._config = job_type, config

    def __enter__(self) -> Run:
        self._kept = contextlib.ExitStack()
        mode = server.check(self._root)
        self._kept.enter_context(server.environment(self._root))
        import wandb

        self._wandb, self._told = wandb, False
        self._logged: list[tuple[dict, int | None]] = []  # while online, but for tables
        (self._root / "wandb").mkdir(parents=True, exist_ok=True)
        around = _open[-1] if _open else None  # of a sweep's trial, which who opened it closes
        self._ours = around is None or (around.online and mode not in server.ONLINE)
        if around is None or self._ours:
            self.run = self._start(mode)
        else:
            self.run, self.online = around.run, around.online
        _open.append(self)
        self._note()
        return self

    def __exit__(self, kind, error, trace) -> None:
        with self._kept:
            _open.remove(self)
            if self._ours:
                self.finish(0 if kind is None else 1)

    def log(self, values: dict, step: int | None = None) -> None:
        self._do(lambda run: run.log(values, step=step))
        if self.online:
            self._logged.append((values, step))

    def log_table(self, key: str, columns: Sequence[str], rows: Iterable[Sequence], step: int | None = None) -> None:
        """A table; encoded pictures (bytes) and Pillow's become pictures in it, lists of floats vectors, which W&B can
        project."""
        from PIL import Image

        def cell(value):
            if isinstance(value, bytes):
                value = Image.open(io.BytesIO(value)).convert("RGB")
            return self._wandb.Image(value) if isinstance(value, Image.Image) else value

        rows = [[cell(value) for value in row] for row in rows]

        def work(run) -> None:  # a table belongs to the run that it was logged to
            table = self._wandb.Table(columns=list(columns))
            for row in rows:
                table.add_data(*row)
            run.log({key: table}, step=step)

        self._do(work)

    def summarize(self, values: dict) -> None:
        self._do(lambda run: run.summary.update(values))

    def finish(self, exit_code: int) -> None:
        """Ends the run, and says where the server has not got all of it."""
        run = self.run
        try:
            if self.online:
                server.within(_TO_FINISH, lambda: run.finish(exit_code=exit_code), server.ask)
                server.ask()  # W&B's own process tells nobody that it gave up
            else:
                server.within(_TO_FINISH, lambda: run.finish(exit_code=exit_code))
        except Exception as error:
            if self.online:
                with contextlib.suppress(Exception):
                    (Path(run.dir).parent / CUT).touch()
            self._lost(error)

    def _start(self, mode: str, before: Any = None) -> Any:
        self.online = mode in server.ONLINE
        if self.online:
            try:
                return server.within(_TO_START, lambda: self._init(mode), server.ask)
            except Exception as error:
                self._lost(error)
                self.online, mode = False, "offline"
        try:
            return self._init(mode, before)
        except Exception:  # W&B's own process may have died of what the server said; the next one is a fresh one
            with contextlib.suppress(Exception):
                self._wandb.teardown()
        try:
            return self._init(mode, before)
        except Exception as error:
            self._lost(error)
            return self._init("disabled")

    def _init(self, mode: Any, before: Any = None) -> Any:
        return self._wandb.init(
            dir=str(self._root),
            mode=mode,
            settings=self._wandb.Settings(console="off", **(_LIMITS if mode in server.ONLINE else {})),
            job_type=self._job_type,
            config=self._config,
            project=server.project(),
            group=before.id if before else None,
            name=f"{before.name} (goes on)" if before else None,
            # One that was given up is still W&B's run for as long as it does not end.
            reinit=None if self._wandb.run is None else "create_new",
        )

    def _note(self) -> None:
        """For what is told of it later, by another process (`opened`)."""
        kept = "" if getattr(self.run, "disabled", False) else self.run.id
        with (self._root / "wandb" / OPENED).open("a", encoding="utf-8") as file:
            file.write(f"{self._job_type}\t{kept}\n")

    def _do(self, work: Callable[[Any], None]) -> None:
        """Has W&B do `work` with the run. Where it cannot, or not in time, an offline run goes on from there."""
        if self.online:
            try:
                return server.within(_TO_LOG, lambda: work(self.run), server.ask)
            except Exception as error:
                self._lost(error)
                self._go_on_offline()
        try:
            work(self.run)
        except Exception as error:
            self._lost(error)

    def _go_on_offline(self) -> None:
        """The online run lies in ROOT/wandb too, and `wandb sync` sends what its server did not get. But where W&B's
        own process died, it is cut: so the offline one has the curves from the beginning."""
        before, ours, self.online, self._ours = self.run, self._ours, False, True
        if ours:
            with contextlib.suppress(Exception):
                server.within(server.PATIENCE, lambda: before.finish(exit_code=1))
        with contextlib.suppress(Exception):
            (Path(before.dir).parent / CUT).touch()
        self.run = self._start("offline", before)
        self._note()
        with contextlib.suppress(Exception):
            for values, step in self._logged:
                self.run.log(values, step=step)
        self._logged = []

    def _lost(self, error: BaseException) -> None:
        """Tells of it, once."""
        if self.online:
            server.give_up(_why(error))
        elif not self._told:
            self._told = True
            log.warning("W&B has not kept all of this run: it %s", _why(error))


def opened(root: str | Path, job_type: str) -> str:
    """The id of the newest run of that job type, of which it may be a part; "" where there is none, or W&B is turned
    off."""
    path = Path(root) / "wandb" / OPENED
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition("\t")[2] for line in reversed(lines) if line.startswith(f"{job_type}\t")), "")


def _why(error: BaseException) -> str:
    name, said = type(error).__name__, first_line(error)
    if isinstance(error, (TimeoutError, server.OutOfReach)):
        return said
    return f"failed ({name}: {said})" if said != name else f"failed ({name})"
