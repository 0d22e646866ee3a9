"""Draws openings over time, so that people can see what the figures say; returns PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perf.reporting.plots import COLOURS, DPI, GREY
from perf.truth.curves import runs

WIDTH, HEIGHT = 12.0, 2.2  # inches, of each row


def draw_openings(
    times_s: np.ndarray, truth: np.ndarray, results: Mapping[str, np.ndarray], energetic: np.ndarray, title: str
) -> bytes:
    """Draw each result's opening over the true one, a row for each; frames with sound are shaded.

    Args:
        times_s: float64 [F].
        truth: float64 [F], in distances of the outer eye corners.
        results: float64 [F] by name.
        energetic: bool [F].
        title: What stands above.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT * len(results) + 0.4), dpi=DPI, layout="constrained")
    rows = np.atleast_1d(figure.subplots(len(results), 1, sharex=True, sharey=True))
    for axes, (name, result), colour in zip(rows, results.items(), COLOURS[1:] * len(results), strict=False):
        for run in runs(energetic):
            axes.axvspan(times_s[run.first], times_s[run.last], color=GREY, alpha=0.15, linewidth=0)
        axes.plot(times_s, truth, color=COLOURS[0], linewidth=1.2, label="truth")
        axes.plot(times_s, result, color=colour, linewidth=1.2, label=name)
        axes.set_ylabel("opening")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right", ncols=2, fontsize=8, frameon=False)
    rows[-1].set_xlabel("seconds")
    rows[0].set_title(title)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()
