"""The benchmark's part of the report: seconds per second beside published figures, and stages."""

from __future__ import annotations

from collections.abc import Sequence

from perf.jobs.benchmark_rows import FIRST_COLUMNS, Benchmark, Row, published_rows
from perf.reporting.page import Block, Heading, Paragraph, Picture, Table
from perf.reporting.plots import Bar, draw_bars, short

SMALLEST_SHARE = 0.01  # of the time of a job: shorter stages are left out
OWN_COLUMNS = {
    "seconds_per_second": "s per s of video",
    "fps": "fps",
    "peak_host_mb": "peak host MB",
    "peak_gpu_mb": "peak GPU MB",
}


def benchmark_blocks(benchmark: Benchmark) -> list[Block]:
    """Return all sections of a benchmark."""
    ours = list(benchmark.rows.values())
    pipelines = {row.key.pipeline for row in ours}
    published = [row for row in published_rows() if row.key.pipeline in pipelines]
    said = (
        "time_sec counts from opening the media to the finished file, without the server's start."
        " Host memory is that of the client and the server together. Grey rows are figures that the predecessor web"
        " service published as ranges, whose ends are paired here."
    )
    headers = (*FIRST_COLUMNS, "speed", *OWN_COLUMNS.values(), "note")
    table = Table(headers, [table_row(row) for row in [*ours, *published]], [mark(row) for row in [*ours, *published]])
    return [Paragraph(said), table, *speed_blocks(ours, published), *stage_blocks(ours)]


def speed_blocks(ours: Sequence[Row], published: Sequence[Row]) -> list[Block]:
    """Return the plot of seconds of work per second of video."""
    measured = [row for row in ours if row.figures]
    groups = {
        pipeline: [bar_of(row) for row in [*measured, *published] if row.key.pipeline == pipeline]
        for pipeline in dict.fromkeys(row.key.pipeline for row in measured)
    }
    caption = "Seconds of work per second of video; below 1 is faster than real time. Dotted grey: published figures."
    picture = draw_bars(groups, "seconds per second of video", scale="fitting")
    return [Heading("Seconds per second of video", 3), Picture("seconds-per-second", picture, caption)]


def bar_of(row: Row) -> Bar:
    """Return a row as a bar."""
    is_reference = mark(row) == "reference"
    where = f"{row.key.gpu}, {row.key.sample}, {row.key.speed}"
    return Bar(f"{where} (published)" if is_reference else where, row.seconds_per_second, is_reference=is_reference)


def stage_blocks(ours: Sequence[Row]) -> list[Block]:
    """Return the plot of each stage's share of the time of a job."""
    groups = {str(row.key): stage_bars(row) for row in ours if row.figures and row.stages}
    if not groups:
        return []
    caption = (
        "Seconds that each of the client's stages worked, as a share of the job's time. Stages overlap, and several"
        " chunks are generated at once, so shares add up to more than 100 %."
    )
    picture = draw_bars(groups, "% of the job's time")
    return [Heading("Stages of a job", 3), Picture("stages", picture, caption)]


def stage_bars(row: Row) -> list[Bar]:
    """Return bars of the stages that take a visible share of a job, longest first."""
    shares = {stage: seconds / row.figures["time_sec"] for stage, seconds in row.stages.items()}
    longest_first = sorted(shares.items(), key=lambda item: -item[1])
    return [
        Bar(stage, 100 * share, note=f" %, {short(row.stages[stage])} s")
        for stage, share in longest_first
        if share >= SMALLEST_SHARE
    ]


def table_row(row: Row) -> tuple[str, ...]:
    """Return a row as cells."""
    known = {"pipeline": row.key.pipeline, "gpu": row.key.gpu, "sample": row.key.sample}
    known |= {"video": row.video, "audio": row.audio, "time_sec": number(row, "time_sec")}
    own = [number(row, name) for name in OWN_COLUMNS]
    return (*(known[name] for name in FIRST_COLUMNS), row.key.speed, *own, row.note)


def number(row: Row, name: str) -> str:
    """Return a figure as text; empty if it is unknown."""
    value = row.figures.get(name)
    return "" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def mark(row: Row) -> str:
    """Return the colour mark of a row; published ones have no time."""
    if not row.figures:
        return "bad"
    return "" if row.time else "reference"
