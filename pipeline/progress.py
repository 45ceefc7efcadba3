"""One line a component on the terminal, and below it what long ones have to say meanwhile."""

from __future__ import annotations

import logging
from typing import TextIO

_INDENT = " " * 8


class Progress(logging.Handler):
    """Hears the runner's events (`on_event`) and, as a logging handler, the `memefly` loggers'."""

    def __init__(self, terminal: TextIO):
        super().__init__(logging.INFO)
        self._terminal, self._line_open = terminal, False

    def __enter__(self) -> Progress:
        logging.getLogger("memefly").addHandler(self)
        return self

    def __exit__(self, *_) -> None:
        logging.getLogger("memefly").removeHandler(self)
        self._end_line()

    def on_event(self, name: str, values: dict) -> None:
        if name == "start":
            print(f"run {values['run_id']}, everything that libraries say is in {values['log']}", file=self._terminal)
        elif name == "node":
            label = f"[{values['index'] + 1:2d}/{values['count']}] {values['name']}"
            self._terminal.write(f"{label:<32}")
            self._terminal.flush()
            self._line_open = True
        elif name == "done" and values["state"] != "skipped":
            lead = "" if self._line_open else _INDENT
            print(
                f"{lead}{values['state']:<8}{values['seconds']:7.1f} s",
                file=self._terminal,
            )
            self._line_open = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == __name__:
            return
        self._end_line()
        print(f"{_INDENT}{record.getMessage()}", file=self._terminal)

    def _end_line(self) -> None:
        if self._line_open:
            print(file=self._terminal)
            self._line_open = False
