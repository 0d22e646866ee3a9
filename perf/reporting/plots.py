"""Draws figures with matplotlib; returns PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator, ScalarFormatter

DPI = 130
WIDTH = 9.0  # inches
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#555555",
)  # for any colour vision
GREY, RED = "#9a9a9a", "#c0392b"
MARKERS = "osD^vPX*"  # one more than colours, so that no pair repeats
MUCH = 50  # ratio of bars above which short ones would be invisible
BAR_HEIGHT = 0.34  # inches, of a row of bars
LOOK: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 9.5, "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Line:
    """Throughput and latency against the load, for one batch and transport."""

    label: str
    loads: Sequence[float]
    throughput: Sequence[float]
    p50_ms: Sequence[float]
    p95_ms: Sequence[float]
    doubtful: Sequence[bool]


@dataclass(frozen=True)
class Bar:
    """A bar of one or two parts, with a note beside it. Reference bars are grey and dotted."""

    label: str
    value: float
    rest: float = 0.0
    note: str = ""
    is_reference: bool = False


@dataclass(frozen=True)
class Spot:
    """A network in the roofline plot: operations per byte, and GFLOP per second."""

    label: str
    intensity: float
    gflop_per_s: float


def draw_load_curves(lines: Sequence[Line], x_label: str, unit: str) -> bytes:
    """Draw throughput (left) and latency (right, median to 95th percentile) against the load."""
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for line, colour, marker in zip(lines, _cycled(COLOURS, lines), _cycled(MARKERS, lines), strict=True):
            style = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.4}
            left.plot(line.loads, line.throughput, label=line.label, **style)
            right.plot(line.loads, line.p50_ms, label=line.label, **style)
            right.fill_between(line.loads, line.p50_ms, line.p95_ms, color=colour, alpha=0.15, linewidth=0)
            doubtful = [i for i, is_doubtful in enumerate(line.doubtful) if is_doubtful]
            left.plot(
                [line.loads[i] for i in doubtful],
                [line.throughput[i] for i in doubtful],
                linestyle="none", marker="o", markersize=10, markerfacecolor="none", markeredgecolor=RED,
            )  # fmt: skip
        left.set(xlabel=x_label, ylabel=f"{unit} per second", title="throughput (circled: unstable)", ylim=(0, None))
        right.set(xlabel=x_label, ylabel="milliseconds", title="latency: median, shaded up to p95", yscale="log")
        _plain_logarithmic(right.yaxis)
        values = sorted({load for line in lines for load in line.loads})
        for axes in (left, right):
            axes.xaxis.set_major_locator(FixedLocator(values))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.grid(alpha=0.25)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        return _png(figure)


def draw_bars(
    groups: Mapping[str, Sequence[Bar]],
    x_label: str,
    parts: tuple[str, str] | None = None,
    scale: Literal["linear", "fitting"] = "linear",
) -> bytes:
    """Draw horizontal bars, group under group.

    Args:
        groups: Bars by the name of their group.
        x_label: What the length of a bar means.
        parts: Names of the two parts of the bars; None if they have one.
        scale: "fitting" is logarithmic if bars differ much.
    """
    bars = [bar for group in groups.values() for bar in group]
    rows = len(bars) + len(groups)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(WIDTH, 0.7 + BAR_HEIGHT * rows), layout="constrained")
        axes = figure.subplots()
        lengths = [bar.value + bar.rest for bar in bars]
        is_logarithmic = scale == "fitting" and max(lengths) > MUCH * max(min(lengths), 1e-9)
        if is_logarithmic:
            axes.set_xscale("log")
            _plain_logarithmic(axes.xaxis)
        ticks: list[tuple[int, str]] = []
        row = 0
        for number, (name, group) in enumerate(groups.items()):
            ticks.append((row, name))
            row += 1
            for bar in group:
                _draw_bar(axes, row, bar, COLOURS[number % len(COLOURS)])
                ticks.append((row, bar.label))
                row += 1
        _label_rows(axes, ticks, set(groups))
        axes.set(xlabel=x_label + (" (logarithmic)" if is_logarithmic else ""), ylim=(row - 0.4, -0.6))
        axes.margins(x=0.22 if not is_logarithmic else 0.3)
        if not is_logarithmic:
            axes.set_xlim(left=0)
        if parts:
            axes.barh([0], [0], color=GREY, label=parts[0])
            axes.barh([0], [0], color="none", edgecolor=GREY, hatch="////", label=parts[1])
            axes.legend(frameon=False, loc="lower right")
        return _png(figure)


def draw_roofline(spots: Sequence[Spot], peak_gflop_per_s: float, peak_gb_per_s: float) -> bytes:
    """Draw networks under the roofline: the slope of the memory bandwidth, and the peak of matrix products."""
    ridge = peak_gflop_per_s / peak_gb_per_s
    low = min([ridge, *(spot.intensity for spot in spots)]) / 3
    high = max([ridge, *(spot.intensity for spot in spots)]) * 4
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.loglog([low, ridge, high], [low * peak_gb_per_s, peak_gflop_per_s, peak_gflop_per_s], color="#222222")
        axes.text(high, peak_gflop_per_s * 1.08, f"{peak_gflop_per_s:.0f} GFLOP/s", ha="right")
        slope = (0.7 * ridge, 0.7 * peak_gflop_per_s)
        axes.annotate(f"{peak_gb_per_s:.0f} GB/s", slope, (8, -10), textcoords="offset points")
        names = list(dict.fromkeys(spot.label.partition(",")[0] for spot in spots))
        for name, colour, marker in zip(names, _cycled(COLOURS, names), _cycled(MARKERS, names), strict=True):
            own = sorted((s for s in spots if s.label.partition(",")[0] == name), key=lambda spot: spot.intensity)
            x, y = [spot.intensity for spot in own], [spot.gflop_per_s for spot in own]
            axes.plot(x, y, color=colour, marker=marker, linewidth=0.8, markersize=6, label=name)
            for spot in own:
                batch = spot.label.partition(", batch ")[2]
                axes.annotate(batch, (spot.intensity, spot.gflop_per_s), (4, -9), textcoords="offset points", size=7)
        axes.set(xlabel="operations per byte that must travel", ylabel="GFLOP per second", xlim=(low, high))
        axes.set_ylim(min(spot.gflop_per_s for spot in spots) / 3, peak_gflop_per_s * 2)
        _plain_logarithmic(axes.xaxis)
        _plain_logarithmic(axes.yaxis)
        axes.grid(alpha=0.25, which="major")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _png(figure)


def _draw_bar(axes: Axes, row: int, bar: Bar, colour: str) -> None:
    shown = GREY if bar.is_reference else colour
    hatch = "...." if bar.is_reference else None
    axes.barh(row, bar.value, height=0.72, color=shown, hatch=hatch, edgecolor="white" if hatch else shown, linewidth=0)
    if bar.rest:
        axes.barh(
            row, bar.rest, left=bar.value, height=0.72, color="none", edgecolor=shown, hatch="////", linewidth=0.5
        )
    text = f"{short(bar.value + bar.rest)}{bar.note}"
    axes.annotate(text, (bar.value + bar.rest, row), (4, 0), textcoords="offset points", va="center", size=8)


def _plain_logarithmic(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers at 1, 2 and 5."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _label_rows(axes: Axes, ticks: Sequence[tuple[int, str]], groups: set[str]) -> None:
    axes.set_yticks([row for row, _ in ticks], [text for _, text in ticks])
    for label in axes.get_yticklabels():
        if label.get_text() in groups:
            label.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)


def short(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _cycled(items: Sequence[str], of: Sequence[object]) -> list[str]:
    return [items[i % len(items)] for i in range(len(of))]


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()
