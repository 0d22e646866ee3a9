"""Rows of measured live streams with their conditions, written as JSON and CSV after every row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from client.live.settings import Pace
from perf.result_files import reading, save_results

KIND = "live"
Status = Literal["in real time", "behind", "done", "failed"]


@dataclass(frozen=True)
class Key:
    """What a row measures: streams of a pipeline at once, at a pace."""

    pipeline: str
    pace: Pace
    sessions: int

    def __str__(self) -> str:
        """Describe it in a few words."""
        return f"{self.pipeline}, {self.sessions} at once, pace {self.pace}"


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        key: What it measures.
        status: in real time, or behind; done at the fastest pace; failed, if a stream ended early.
        time: When it was measured, ISO 8601, UTC.
        note: The first failure, in one line.
        figures: By name; see `perf.live.figures` and `perf.live.measure`.
        memory: Private memory of the server in MB by seconds since the beginning.
    """

    key: Key
    status: Status
    time: str
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    memory: tuple[tuple[float, float], ...] = ()


@dataclass
class LiveResults:
    """Rows by key, and their conditions."""

    conditions: dict[str, Any]
    rows: dict[Key, Row] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the JSON and the CSV file, each whole or not at all."""
        rows = [dataclasses.asdict(row) for row in self.rows.values()]
        save_results(folder, KIND, self.conditions, {"rows": rows}, [_flat(row) for row in self.rows.values()])


def load_live(path: Path) -> LiveResults:
    """Read rows from a folder or its JSON file.

    Raises:
        ValueError: the file is missing, or holds something else.
    """
    with reading(path, KIND) as document:
        rows = [_row(entry) for entry in document["rows"]]
        return LiveResults(document["conditions"], {row.key: row for row in rows})


def _flat(row: Row) -> dict[str, Any]:
    own = {"status": row.status, "note": row.note, "time": row.time, **row.figures}
    return {**dataclasses.asdict(row.key), **own}


def _row(entry: dict[str, Any]) -> Row:
    memory = tuple((float(at_s), float(used)) for at_s, used in entry.pop("memory"))
    return Row(key=Key(**entry.pop("key")), memory=memory, **entry)
