"""Plots for pages: SVG that takes its text colour from the page, so it reads in light and dark alike.

>>> svg = curves(history)
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from typing import Any

_INK = "#010203"  # replaced by the page's own colour
_LINES = ("#2a78c4", "#c4622a", "#3a9a5b")
_SCORES = {"val_bleu4": "BLEU-4", "val_cider": "CIDEr-D", "val_rouge_l": "ROUGE-L"}


def curves(history: Sequence[dict]) -> str:
    """Loss, and scores on val, by epoch; "" without epochs. A line parts the stages of training."""
    if not history:
        return ""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # Any: newer matplotlibs list every key there is as the type.
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "memefly", "font.family": "sans-serif"}
    style |= {"font.size": 10, "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        loss, scores = figure.subplots(1, 2)
        epochs = range(1, len(history) + 1)
        loss.plot(epochs, [epoch["loss"] for epoch in history], color=_LINES[0], marker="o", markersize=3)
        loss.set_title("loss on train", fontsize=10)
        for (key, name), colour in zip(_SCORES.items(), _LINES):
            values = [epoch.get(key) for epoch in history]
            if None not in values:
                scores.plot(epochs, values, color=colour, marker="o", markersize=3, label=name)
        scores.set_title("scores on val, greedy decoding", fontsize=10)
        scores.legend(frameon=False)
        for axes in (loss, scores):
            axes.set_facecolor("none")
            axes.set_xlabel("epoch")
            axes.tick_params(colors=_INK)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color=_INK, alpha=0.12)
            for place, (before, after) in enumerate(itertools.pairwise(history), start=1):
                if before["stage"] != after["stage"]:
                    axes.axvline(place + 0.5, color=_INK, linestyle=":", linewidth=1)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would hold for the whole page
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
