"""Figures of a clip as a text table."""

from __future__ import annotations

from collections.abc import Mapping

from perf.truth.likeness import Likeness
from perf.truth.phones import LipPhones

HEADER = ("", "r0", "best r", "lag ms", "r width", "LMD %", "found", "false", "shut", "median", "range", "vel.", "jerk")
NAME_WIDTH, WIDTH = 32, 8


def likeness_table(rows: Mapping[str, Likeness]) -> str:
    """Return a line for each result, under a header."""
    return "\n".join([_line(HEADER), *(_line((name, *_cells(row))) for name, row in rows.items())])


def phones_table(rows: Mapping[str, LipPhones]) -> str:
    """Return a line for each result: how many phones, AUC, recall."""
    lines = [_line(("p b m against open vowels", "p b m", "vowels", "AUC", "recall"))]
    for name, row in rows.items():
        lines.append(_line((name, str(len(row.closed)), str(len(row.open)), _number(row.auc), _number(row.recall))))
    return "\n".join(lines)


def silence_table(shares: Mapping[str, float]) -> str:
    """Return a line for each sound: the share of frames with an open mouth."""
    return "\n".join([_line(("open without speech", "%")), *(_line((n, f"{100 * s:.0f}")) for n, s in shares.items())])


def _cells(row: Likeness) -> tuple[str, ...]:
    shares = (row.closures.found_share, row.closures.false_share, row.shut)
    ratios = (row.median, row.range, row.velocity, row.jerk)
    head = (_number(row.r0), _number(row.best_r), f"{row.lag_ms:.0f}", _number(row.r_width), _number(row.lmd))
    return (*head, *map(_number, shares), *map(_number, ratios))


def _line(cells: tuple[str, ...]) -> str:
    return f"{cells[0]:{NAME_WIDTH}}" + "".join(f"{cell:>{WIDTH}}" for cell in cells[1:])


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.2f}"
