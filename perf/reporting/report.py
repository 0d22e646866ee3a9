"""Writes results as one page, in HTML and in Markdown: python -m perf report RESULTS...

Each RESULTS is the folder (or results.json) of a sweep, a benchmark or live streams. With --baseline, an older result
of the same kind, the page shows what changed since then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.jobs.benchmark_rows import KIND as BENCHMARK
from perf.jobs.benchmark_rows import load_benchmark
from perf.live.rows import KIND as LIVE
from perf.live.rows import load_live
from perf.load.results import KIND as SWEEP
from perf.load.results import load_results
from perf.reporting.benchmark_part import benchmark_blocks
from perf.reporting.compare import DEFAULT_LIMIT, compare, comparison_blocks
from perf.reporting.live_part import live_blocks
from perf.reporting.page import Block, Heading, Paragraph, Table, write_page
from perf.reporting.sweep_part import sweep_blocks
from perf.result_files import read_kind

DEFAULT_OUTPUT = DEFAULT_REPOSITORY.parent / "build" / "perf" / "report"
TITLE = "How fast it runs here"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its paths.

    Raises:
        ValueError: a file holds no results, or none that were measured.
    """
    parser = argparse.ArgumentParser(prog="python -m perf report", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("--baseline", type=Path, metavar="RESULTS", help="mark what changed since these")
    parser.add_argument("--limit", type=float, default=DEFAULT_LIMIT, help="ignore smaller changes (%(default)s)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="(%(default)s)")
    options = parser.parse_args(argv)
    blocks = [block for path in options.results for block in results_blocks(path)]
    if options.baseline:
        blocks += baseline_blocks(options.baseline, options.results, options.limit)
    for path in write_page(TITLE, blocks, options.output):
        print(path)
    return 0


def results_blocks(path: Path) -> list[Block]:
    """Return the sections of one result.

    Raises:
        ValueError: nothing in it was measured.
    """
    kind = read_kind(path)
    if kind == SWEEP:
        results = load_results(path)
        if not any(point.is_measured for point in results.points.values()):
            raise ValueError(f"{path}: expected at least one measured point, got none. Run: python -m perf sweep")
        return [Heading("Models under load"), conditions_table(results.conditions), *sweep_blocks(results)]
    if kind == BENCHMARK:
        benchmark = load_benchmark(path)
        if not any(row.figures for row in benchmark.rows.values()):
            raise ValueError(f"{path}: expected at least one measured row, got none. Run: python -m perf benchmark")
        return [Heading("Whole jobs"), conditions_table(benchmark.conditions), *benchmark_blocks(benchmark)]
    if kind == LIVE:
        live = load_live(path)
        if not any(row.figures for row in live.rows.values()):
            raise ValueError(f"{path}: expected at least one measured row, got none. Run: python -m perf live")
        return [Heading("Live streams"), conditions_table(live.conditions), *live_blocks(live)]
    raise ValueError(f"{path}: expected results of a {SWEEP}, a {BENCHMARK} or {LIVE} streams, got those of a {kind}")


def baseline_blocks(baseline: Path, results: Sequence[Path], limit: float) -> list[Block]:
    """Return what changed since an older result of the same kind.

    Raises:
        ValueError: there is no newer result of this kind.
    """
    kind = read_kind(baseline)
    newer = [path for path in results if read_kind(path) == kind]
    if not newer:
        raise ValueError(f"{baseline}: expected newer results of a {kind} to compare with, got none")
    blocks: list[Block] = [Heading("Changes"), Paragraph(f"Before: {baseline}. After: {newer[0]}.")]
    return [*blocks, *comparison_blocks(*compare(baseline, newer[0], limit))]


def conditions_table(conditions: Mapping[str, Any]) -> Table:
    """Return the conditions of a result as a table."""
    named = {
        "machine": f"{conditions['machine']}, {conditions['cores']} cores, {conditions['memory_gb']} GB",
        "GPU": "; ".join(f"{gpu['name']}, {gpu['memory_mb']:.0f} MB" for gpu in conditions["gpus"]) or "none",
        "driver": conditions.get("driver") or "none",
        "Triton": conditions.get("triton", ""),
        "server": conditions.get("server", ""),
        "flavour": conditions.get("flavour", ""),
        "options": conditions.get("options", ""),
        "commit": conditions["commit"],
        "started": conditions["started"],
        "command": conditions.get("command", ""),
        "at best": best(conditions),
    }
    return Table(("condition", ""), [(name, str(value)) for name, value in named.items() if value])


def best(conditions: Mapping[str, Any]) -> str:
    """Return the peaks of the roofline, and what they belong to."""
    if "peak_gflop_per_s" not in conditions:
        return ""
    whose = conditions.get("peaks_of", "the CPU, fp32, measured")
    return f"{conditions['peak_gflop_per_s']:g} GFLOP/s in products, {conditions['peak_gb_per_s']:g} GB/s ({whose})"


if __name__ == "__main__":
    sys.exit(main())
