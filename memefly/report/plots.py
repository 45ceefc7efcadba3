"""Plots for pages: SVG that takes its text colour from the page, so it reads in light and dark alike.

>>> svg = curves(history)
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#010203"  # replaced by the page's own colour
_LINES = ("#2a78c4", "#c4622a", "#3a9a5b")
_SCORES = {"val_bleu4": "BLEU-4", "val_cider": "CIDEr-D", "val_rouge_l": "ROUGE-L"}


def curves(history: Sequence[dict]) -> str:
    """Loss, and scores on val, by epoch, and bits a character where training has told them; "" without epochs. A line
    parts the stages of training."""
    if not history:
        return ""
    from matplotlib.ticker import MaxNLocator

    bits = [epoch.get("val_bits_a_character") for epoch in history]
    told = None not in bits
    with _page(figsize=(12 if told else 9, 3.2)) as (figure, out):
        loss, scores, *more = figure.subplots(1, 3 if told else 2)
        epochs = range(1, len(history) + 1)
        for axes in more:
            axes.plot(epochs, bits, color=_LINES[0], marker="o", markersize=3)
            axes.set_title("bits a character on val", fontsize=10)
        loss.plot(epochs, [epoch["loss"] for epoch in history], color=_LINES[0], marker="o", markersize=3)
        loss.set_title("loss on train", fontsize=10)
        for (key, name), colour in zip(_SCORES.items(), _LINES):
            values = [epoch.get(key) for epoch in history]
            if None not in values:
                scores.plot(epochs, values, color=colour, marker="o", markersize=3, label=name)
        scores.set_title("scores on val, greedy decoding", fontsize=10)
        scores.legend(frameon=False)
        for axes in (loss, scores, *more):
            axes.set_facecolor("none")
            axes.set_xlabel("epoch")
            axes.tick_params(colors=_INK)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color=_INK, alpha=0.12)
            for place, (before, after) in enumerate(itertools.pairwise(history), start=1):
                if before["stage"] != after["stage"]:
                    axes.axvline(place + 0.5, color=_INK, linestyle=":", linewidth=1)
    return _plain(out)


def distributions(here: Sequence[tuple[str, float]], there: Sequence[tuple[str, float]], names: tuple[str, str]) -> str:
    """Shares of the same values, or of the same ranges, in two data sets, side by side."""
    with _page(figsize=(9, 2.6)) as (figure, out):
        axes = figure.subplots()
        for place, (shares, name, colour) in enumerate(zip((here, there), names, _LINES)):
            places = [i + 0.4 * place for i in range(len(shares))]
            axes.bar(places, [share for _, share in shares], width=0.4, align="edge", color=colour, label=name)
        labels = [label if len(label) <= 14 else f"{label[:13]}…" for label, _ in here]
        axes.set_xticks([i + 0.4 for i in range(len(here))], labels, rotation=45 if max(map(len, labels)) > 3 else 0)
        axes.set_facecolor("none")
        axes.tick_params(colors=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))  # above what it would hide
    return _plain(out)


@contextlib.contextmanager
def _page(figsize: tuple[float, float]) -> Iterator[tuple[Figure, io.StringIO]]:
    """A figure, and where its SVG is when the block is left."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Any: newer matplotlibs list every key there is as the type.
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "memefly", "font.family": "sans-serif"}
    style |= {"font.size": 10, "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK}
    out = io.StringIO()
    with matplotlib.rc_context(style):
        figure = Figure(figsize=figsize, layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, out
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def _plain(out: io.StringIO) -> str:
    """The SVG as a page takes it in."""
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would hold for the whole page
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
