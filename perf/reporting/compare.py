"""What changed between two results of the same kind: python -m perf compare BEFORE AFTER.

A change is marked if it exceeds the limit and the noise, which is estimated from the windows or runs of both results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perf.jobs.benchmark_rows import KIND as BENCHMARK
from perf.jobs.benchmark_rows import load_benchmark
from perf.load.results import KIND as SWEEP
from perf.load.results import load_results
from perf.reporting.page import Block, Heading, Paragraph, Table, write_page
from perf.result_files import read_kind

Mark = Literal["faster", "slower", "same", "only before", "only after"]
DEFAULT_LIMIT = 0.1
COLOURS = {"faster": "good", "slower": "bad", "same": "", "only before": "doubtful", "only after": "doubtful"}
CONDITIONS = ("machine", "cores", "gpus", "driver", "triton", "flavour", "commit", "frame_size", "options", "started")
EXIT_SLOWER = 3


@dataclass(frozen=True)
class Figure:
    """A speed (larger is better) and the spread of its windows or runs."""

    speed: float
    spread: float


@dataclass(frozen=True)
class Change:
    """A figure in two results."""

    what: str
    before: Figure | None
    after: Figure | None
    limit: float

    @property
    def ratio(self) -> float:
        """Speed after over speed before."""
        assert self.before is not None
        assert self.after is not None
        return self.after.speed / self.before.speed

    @property
    def noise(self) -> float:
        """By how much the two may differ by chance: half the sum of their spreads."""
        return sum(figure.spread for figure in (self.before, self.after) if figure is not None) / 2

    @property
    def mark(self) -> Mark:
        """Whether it got faster, slower, or neither beyond limit and noise."""
        if self.before is None:
            return "only after"
        if self.after is None:
            return "only before"
        allowed = 1 + max(self.limit, self.noise)
        if self.ratio > allowed:
            return "faster"
        return "slower" if self.ratio < 1 / allowed else "same"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison; returns 3 if something is slower and --fail-on-slower was given, else 0.

    Raises:
        ValueError: the results differ in kind, or have no point in common.
    """
    parser = argparse.ArgumentParser(prog="python -m perf compare", description=__doc__)
    parser.add_argument("before", type=Path, help="results: a folder or its results.json")
    parser.add_argument("after", type=Path)
    parser.add_argument("--limit", type=float, default=DEFAULT_LIMIT, help="ignore smaller changes (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the comparison as HTML and Markdown")
    parser.add_argument("--fail-on-slower", action="store_true", help=f"exit with {EXIT_SLOWER} if anything is slower")
    options = parser.parse_args(argv)
    changes, conditions = compare(options.before, options.after, options.limit)
    for change in changes:
        print(f"{change.mark:12} {' '.join(row_of(change)[1:4]):30} {change.what}")
    print(summary(changes))
    if options.output:
        print("\n".join(map(str, write_page("Comparison", comparison_blocks(changes, conditions), options.output))))
    return EXIT_SLOWER if options.fail_on_slower and any(change.mark == "slower" for change in changes) else 0


def compare(before: Path, after: Path, limit: float) -> tuple[list[Change], list[tuple[str, Any, Any]]]:
    """Compare two results point by point; also returns the conditions that differ: name, before, after.

    Raises:
        ValueError: the results differ in kind, or have no point in common.
    """
    kinds = read_kind(before), read_kind(after)
    if kinds[0] != kinds[1]:
        raise ValueError(f"{after}: expected results of a {kinds[0]} as in {before}, got those of a {kinds[1]}")
    (old, old_conditions), (new, new_conditions) = figures_of(before), figures_of(after)
    if not set(old) & set(new):
        raise ValueError(f"{after}: expected some point of {before} measured again, got none")
    changes = [Change(what, old.get(what), new.get(what), limit) for what in {**old, **new}]
    differing = [
        (name, old_conditions.get(name, ""), new_conditions.get(name, ""))
        for name in CONDITIONS
        if old_conditions.get(name) != new_conditions.get(name)
    ]
    return changes, differing


def figures_of(path: Path) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Return speeds by point, in items or seconds of video per second, and the conditions."""
    kind = read_kind(path)
    if kind == SWEEP:
        results = load_results(path)
        measured = [point for point in results.points.values() if point.is_measured]
        speeds = {str(p.load): Figure(p.figures["items_per_s"], p.figures["spread"]) for p in measured}
        return speeds, results.conditions
    if kind == BENCHMARK:
        benchmark = load_benchmark(path)
        rows = [row for row in benchmark.rows.values() if row.figures]
        speeds = {str(row.key): Figure(1 / row.seconds_per_second, row.figures["spread"]) for row in rows}
        return speeds, benchmark.conditions
    raise ValueError(f"{path}: expected results of a {SWEEP} or a {BENCHMARK}, got those of a {kind}")


def comparison_blocks(changes: Sequence[Change], conditions: Sequence[tuple[str, Any, Any]]) -> list[Block]:
    """Return the tables of a comparison, changed points first."""
    ordered = sorted(changes, key=lambda change: (change.mark == "same", change.mark, change.what))
    blocks: list[Block] = [
        Paragraph(summary(changes)),
        Table(
            ("what", "before", "after", "after / before", "noise", "mark"),
            [row_of(change) for change in ordered],
            [COLOURS[change.mark] for change in ordered],
        ),
    ]
    if conditions:
        rows = [(name, str(old), str(new)) for name, old, new in conditions]
        blocks += [Heading("Conditions that differ", 3), Table(("condition", "before", "after"), rows)]
    return blocks


def row_of(change: Change) -> tuple[str, ...]:
    """Return a change as the cells of a row."""
    speeds = [f"{figure.speed:.4g}" if figure else "" for figure in (change.before, change.after)]
    ratio = f"{change.ratio:.2f} x" if change.before and change.after else ""
    return (change.what, *speeds, ratio, f"{change.noise:.0%}", change.mark)


def summary(changes: Sequence[Change]) -> str:
    """Return how many points have which mark."""
    counts = {mark: sum(change.mark == mark for change in changes) for mark in COLOURS}
    return ", ".join(f"{count} {mark}" for mark, count in counts.items() if count)


if __name__ == "__main__":
    sys.exit(main())
