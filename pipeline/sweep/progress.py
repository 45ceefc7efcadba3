"""One line a trial on the terminal; before the first, one a node that it needs."""

from __future__ import annotations

import logging

from pipeline.progress import Progress
from pipeline.sweep.trials import Trial, told


class SweepProgress(Progress):
    """Hears the sweep's events; what a Trainer has to say meanwhile stays in the log."""

    _wanted = 0

    def on_event(self, name: str, values: dict) -> None:
        if name == "sweep":
            self._wanted = values["wanted"]
            led = ", led by W&B" if values["wandb"] else ""
            print(
                f"sweep {values['name']}{led}: {values['made']} of {self._wanted} trials are made", file=self._terminal
            )
        elif name == "trial":
            logging.getLogger("memefly").removeHandler(self)
            self._end_line()
            label = f"[{values['number']:2d}/{self._wanted}] {told(values['parameters'])}"
            self._terminal.write(f"{label:<56}")
            self._terminal.flush()
            self._line_open = True
        elif name == "tried":
            print(f"  {self._outcome(**values)}", file=self._terminal)
            self._line_open = False
        else:
            super().on_event(name, values)

    @staticmethod
    def _outcome(trial: Trial, best: Trial | None, metric: str) -> str:
        score = f"{metric} {trial.metrics[metric]:.4f}" if trial.state == "ok" else "FAILED"
        so_far = f"  best {best.metrics[metric]:.4f} (trial {best.number})" if best else ""
        return f"{score}{so_far}{trial.seconds:8.1f} s" + (f"\n        {trial.error}" if trial.error else "")
