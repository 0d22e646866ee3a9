"""The part of the report on live streams: a table of rows, and how far each is from what is wanted."""

from __future__ import annotations

from collections.abc import Mapping

from perf.live.figures import LATE_S, LOST_SHARE
from perf.live.rows import LiveResults, Row
from perf.reporting.page import Block, Paragraph, Table

# Figure -> its largest wanted value.
WANTED: Mapping[str, float] = {"first_p95_ms": 500, "skew_ms": 40, "interrupt_p95_ms": 100}
COLUMNS = {
    "first_p50_ms": "first frame p50, ms",
    "first_p95_ms": "p95",
    "late_p50_ms": "lateness p50, ms",
    "late_p95_ms": "p95",
    "late_p99_ms": "p99",
    "pictures": "pictures",
    "held": "held",
    "left_out": "left out",
    "skew_ms": "skew, ms",
    "interrupt_p50_ms": "interrupt p50, ms",
    "interrupt_p95_ms": "p95",
    "times_real_time": "times real time",
    "server_cores": "cores of the server",
    "client_cores": "of the clients",
    "gpu_utilization": "GPU, %",
    "gpu_memory_mb": "GPU, MB",
    "server_memory_mb": "server, MB",
    "memory_growth_mb_per_min": "growth, MB/min",
}
MARKS = {"in real time": "good", "done": "", "behind": "doubtful", "failed": "bad"}


def live_blocks(results: LiveResults) -> list[Block]:
    """Return all sections of live streams; columns without a figure are left out."""
    rows = list(results.rows.values())
    columns = {name: title for name, title in COLUMNS.items() if any(name in row.figures for row in rows)}
    said = (
        "First frame: from the first 200 ms of an utterance to the first picture whose mouth follows it. Lateness: of a"
        " picture, beyond that of its stream's most punctual one. Held: not drawn in time, so that the picture before"
        " it stayed. Left out: not read in time. Skew: the largest distance between sound and picture. Interrupt: until"
        f" the first picture with a closed mouth. In real time: at most {LOST_SHARE:.0%} of the pictures held or left"
        f" out, and the p95 of lateness at most {1000 * LATE_S:g} ms."
    )
    headers = ("pipeline", "pace", "at once", *columns.values(), "status", "more than wanted")
    table = Table(headers, [table_row(row, columns) for row in rows], [MARKS[row.status] for row in rows])
    return [Paragraph(said), table]


def table_row(row: Row, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Return a row as cells."""
    figures = [f"{row.figures[name]:g}" if name in row.figures else "" for name in columns]
    status = f"{row.status}: {row.note}" if row.note else row.status
    return (row.key.pipeline, row.key.pace, str(row.key.sessions), *figures, status, beyond(row))


def beyond(row: Row) -> str:
    """Name the figures of a row that are larger than wanted."""
    return ", ".join(
        f"{name} {row.figures[name]:g} > {limit:g}"
        for name, limit in WANTED.items()
        if row.figures.get(name, 0.0) > limit
    )
