"""What came of a run: `summary.json`, and the same in a few lines for people.

>>> for line in describe(summary, root):
...     print(line)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from components.caption_example_gen.executor import QUARANTINE
from memefly.operations.runs import SUMMARY
from memefly.report import report


@dataclass
class RunSummary:
    """What a run did; `ROOT/runs/<run_id>/summary.json` holds the same."""

    run_id: str
    started: str
    seconds: float = 0.0
    components: list[dict] = field(default_factory=list)  # {name, state: ran|cached|failed|skipped, seconds}
    data: dict = field(default_factory=dict)  # {images, captions, quarantined, …}
    features: dict = field(default_factory=dict)  # {computed, reused}
    encoder: dict = field(default_factory=dict)  # {name, digest}
    metrics: dict = field(default_factory=dict)  # of the candidate, on eval
    intervals: dict = field(default_factory=dict)  # of those that have one, [low, high] at 95 %
    baseline: dict | None = None  # of the model it was measured against
    changes: dict = field(default_factory=dict)  # to that model: {value, low, high, p} by metric
    slices: list[dict] = field(default_factory=list)  # {by, value, pictures, metrics, intervals, baseline}
    blessed: bool = False
    decisions: list[dict] = field(default_factory=list)  # {rule, slice, metric, value, threshold, baseline, passed, …}
    gate: list[str] = field(default_factory=list)  # why not, where it was not
    pushed: str | None = None
    error: str | None = None
    configuration: dict = field(default_factory=dict)  # as it was resolved, presets and overrides in it
    versions: dict = field(default_factory=dict)
    git: str = ""

    @property
    def judged(self) -> bool:
        """Whether the run came as far as the gate."""
        return bool(self.metrics or self.gate)

    def as_dict(self) -> dict:
        return asdict(self)


def _told(row: dict) -> str:
    """What a step of cleaning did; nothing where it did nothing."""
    done = [f"{row[what]} {what}" for what in ("changed", "dropped") if row[what]]
    return f"{row['step']} {', '.join(done)}" if done else ""


def describe(summary: RunSummary, root: str | Path) -> list[str]:
    """What came of a run, for people."""
    folder = Path(root) / "runs" / summary.run_id
    lines = []
    if summary.metrics:
        live = f", live model {summary.baseline['bleu4']:.4f}" if summary.baseline else ""
        constant = f"best constant caption {summary.metrics['constant_bleu4']:.4f}"
        lines.append(f"BLEU-4 {summary.metrics['bleu4']:.4f} ({constant}{live})")
        if summary.changes:
            told = (
                f"{name} {summary.changes[metric]['value']:+.4f} [{summary.changes[metric]['low']:+.4f}, "
                f"{summary.changes[metric]['high']:+.4f}]"
                for metric, name in (("bleu4", "BLEU-4"), ("cider", "CIDEr"))
            )
            lines.append(f"to the live model, 95 %: {', '.join(told)}")
    if summary.pushed:
        lines.append(f"blessed; model:  {summary.pushed}")
    elif summary.judged and not summary.blessed:
        lines.append("NOT blessed, nothing pushed:")
        lines += [f"  - {reason}" for reason in summary.gate]
    if cleaned := [line for row in summary.data.get("cleaning", []) if (line := _told(row))]:
        lines.append(f"cleaning:        {'; '.join(cleaned)}")
    for row in summary.data.get("drift", []):
        if row["anomaly"]:
            lines.append(f"drift:           {row['feature']} against {row['against']}: {row['value']:.3f}")
    lines.append(f"report:          {folder / report.REPORT}")
    lines.append(f"summary:         {folder / SUMMARY}")
    if summary.data.get("quarantined") or summary.data.get("quarantined_captions"):
        lines.append(f"quarantine:      {folder / QUARANTINE} ({summary.data['quarantined']} records)")
    return lines
