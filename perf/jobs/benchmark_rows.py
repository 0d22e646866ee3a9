"""Rows of the end-to-end benchmark, and the published figures of the predecessor web service, as JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf.result_files import reading, save_results

KIND = "benchmark"
PUBLISHED_FIGURES = Path(__file__).with_name("published_figures.csv")
FIRST_COLUMNS = ("pipeline", "gpu", "sample", "video", "audio", "time_sec")  # as the predecessor's tables have them


@dataclass(frozen=True)
class Key:
    """What a row measures: a pipeline in one of its modes, on a GPU or the CPU, with a sample."""

    pipeline: str
    gpu: str
    sample: str
    speed: str

    def __str__(self) -> str:
        """Describe it in a few words."""
        return f"{self.pipeline} ({self.speed}), {self.gpu}, {self.sample}"


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        key: What the row measures.
        video, audio: Names of the files.
        time: When it was measured, ISO 8601, UTC; empty for published figures.
        note: Why there are no figures, or the source of published ones.
        figures: time_sec from opening the media to the finished file, without the server's start; seconds_per_second
            of video; fps; peak_host_mb of all processes; peak_gpu_mb.
        stages: Working seconds of each of the client's stages; stages overlap.
    """

    key: Key
    video: str
    audio: str
    time: str = ""
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds_per_second(self) -> float:
        """Seconds of work per second of video."""
        return self.figures["seconds_per_second"]


@dataclass
class Benchmark:
    """Rows by key, and their conditions."""

    conditions: dict[str, Any]
    rows: dict[Key, Row] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write both files, each whole or not at all; the CSV begins with the predecessor's columns."""
        rows = [dataclasses.asdict(row) for row in self.rows.values()]
        save_results(folder, KIND, self.conditions, {"rows": rows}, [_flat(row) for row in self.rows.values()])


def load_benchmark(path: Path) -> Benchmark:
    """Read rows from a folder or its JSON file.

    Raises:
        ValueError: the file is missing, or holds something else.
    """
    with reading(path, KIND) as document:
        rows = [Row(key=Key(**entry.pop("key")), **entry) for entry in document["rows"]]
        return Benchmark(document["conditions"], {row.key: row for row in rows})


def published_rows() -> list[Row]:
    """Read the figures published by the predecessor web service, each with its source."""
    rows = []
    with PUBLISHED_FIGURES.open(encoding="utf-8", newline="") as file:
        for entry in csv.DictReader(file):
            key = Key(*(entry[name] for name in ("pipeline", "gpu", "sample", "speed")))
            figures = {name: float(entry[name]) for name in ("time_sec", "video_s", "seconds_per_second")}
            rows.append(Row(key, entry["video"], entry["audio"], note=entry["source"], figures=figures))
    return rows


def _flat(row: Row) -> dict[str, Any]:
    known = {**dataclasses.asdict(row.key), "video": row.video, "audio": row.audio, **row.figures}
    first = {name: known.get(name, "") for name in FIRST_COLUMNS}
    return {**first, **known, "stages": json.dumps(row.stages), "note": row.note, "time": row.time}
