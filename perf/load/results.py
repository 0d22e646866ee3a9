"""Results of sweeps: measured points with their conditions, written as JSON and CSV after every point."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from client.errors import LipSyncError, ref

Transport = Literal["grpc", "shm"]
Mode = Literal["concurrency", "rate"]
Status = Literal["ok", "unstable", "crashed"]
JSON_FILE, CSV_FILE = "results.json", "results.csv"
KIND = "sweep"
# Results with the same values belong to the same machine and the same state of the sources.
IDENTITY = ("machine", "cores", "gpus", "triton", "flavour", "commit", "frame_size")


@dataclass(frozen=True)
class Load:
    """The load on a model: items per request, and requests at once or per second."""

    model: str
    batch: int
    transport: Transport
    mode: Mode
    value: float

    def __str__(self) -> str:
        """Describe the load in a few words."""
        unit = "at once" if self.mode == "concurrency" else "requests/s"
        return f"{self.model}, batch {self.batch}, {self.transport}, {self.value:g} {unit}"


@dataclass(frozen=True)
class Work:
    """The work of a network per item, counted from its graph.

    Attributes:
        flop: Floating-point operations of convolutions and matrix products for one item, two per multiply-add.
        weight_bytes: Size of the weights, which are read once per execution, whatever the batch.
        item_bytes: Size of the inputs and outputs of one item.
    """

    flop: float
    weight_bytes: float
    item_bytes: float

    def intensity(self, batch: float) -> float:
        """Return operations per byte of memory traffic: weights once, inputs and outputs once per item."""
        return self.flop * batch / (self.weight_bytes + self.item_bytes * batch)


@dataclass(frozen=True)
class Step:
    """What the server did in one model while a point was measured.

    Attributes:
        model: The model.
        requests: Number of requests that it answered.
        executions: Number of executions; fewer than requests if the server batched them.
        items_per_execution: Mean batch.
        queue_ms: Mean time that a request waited, in milliseconds.
        compute_ms: Mean time that a request was computed, copies of its inputs and outputs included, in milliseconds.
    """

    model: str
    requests: int
    executions: int
    items_per_execution: float
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True)
class Point:
    """One measured load.

    Attributes:
        load: The load on the model.
        status: ok; unstable, if the windows differ by more than the limit; crashed, if there are no figures.
        note: The reason if it is not ok, in one line.
        time: When it was measured, ISO 8601, UTC.
        figures: Figures by name: `*_ms` per request as perf_analyzer reports them, `items_per_s` in frames or images,
            `spread` between the windows' throughputs (largest minus smallest over the mean), `gpu_*` with a GPU.
        steps: The models that worked for it, also those called by others.
    """

    load: Load
    status: Status
    time: str
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether the point has figures."""
        return self.status != "crashed"


@dataclass
class Results:
    """Points by load, their conditions, and the counted work of the networks by model."""

    conditions: dict[str, Any]
    points: dict[Load, Point] = field(default_factory=dict)
    work: dict[str, Work] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the JSON and the CSV file, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        points = [dataclasses.asdict(point) for point in self.points.values()]
        work = {model: dataclasses.asdict(counted) for model, counted in self.work.items()}
        document = {"kind": KIND, "conditions": self.conditions, "work": work, "points": points}
        write_text(folder / JSON_FILE, json.dumps(document, indent=1) + "\n")
        write_text(folder / CSV_FILE, csv_text([self._row(point) for point in self.points.values()]))

    def _row(self, point: Point) -> dict[str, Any]:
        steps = "; ".join(
            f"{step.model} queue {step.queue_ms:.3f} ms compute {step.compute_ms:.3f} ms" for step in point.steps
        )
        flat = {"status": point.status, "note": point.note, "time": point.time, **point.figures, "steps": steps}
        return {**dataclasses.asdict(point.load), **flat, **flat_conditions(self.conditions)}


def load_results(path: Path) -> Results:
    """Read results from a folder or its JSON file.

    Raises:
        ValueError: the file is missing, or holds something else.
    """
    document = read_document(path, KIND)
    try:
        points = [_point(entry) for entry in document["points"]]
        work = {model: Work(**counted) for model, counted in document["work"].items()}
        return Results(document["conditions"], {point.load: point for point in points}, work)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected results of a sweep, got {error}") from error


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON file of results of one kind.

    Raises:
        ValueError: the file is missing, or holds something else.
    """
    document = read_json(path)
    if document.get("kind") != kind:
        raise ValueError(f"{path}: expected results of a {kind}, got those of a {document.get('kind')}")
    return document


def read_kind(path: Path) -> str:
    """Return what a JSON file holds results of: a sweep or a benchmark.

    Raises:
        ValueError: the file is missing, or holds no results.
    """
    return str(read_json(path)["kind"])


def read_json(path: Path) -> dict[str, Any]:
    """Read the results in a folder, or a JSON file of results.

    Raises:
        ValueError: the file is missing, or holds no results.
    """
    file = path / JSON_FILE if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: expected results, got {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{file}: expected results as JSON, got {error}") from error
    if not isinstance(document, dict) or "kind" not in document:
        raise ValueError(f"{file}: expected results of a sweep, a benchmark or live streams, got other JSON")
    return document


def check_identity(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> None:
    """Check that new points may be added to old ones.

    Raises:
        LipSyncError: they were measured under other conditions.
    """
    for name in names:
        if old.get(name) != new[name]:
            raise LipSyncError(
                about=path,
                expected=f"results with {name} {new[name]!r}",
                got=repr(old.get(name)),
                advice=f"Choose another folder with {ref('output')}, or start over with {ref('restart')},"
                " which keeps the old files",
            )


def set_aside(folder: Path, conditions: Mapping[str, Any]) -> None:
    """Rename the results in a folder after the time at which they were started."""
    stamp = str(conditions.get("started", "old")).replace(":", "")
    for name in (JSON_FILE, CSV_FILE):
        if (folder / name).is_file():
            (folder / name).rename(folder / f"{stamp}-{name}")


def flat_conditions(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions as columns; lists and mappings become JSON."""
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in conditions.items()}


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Return rows as CSV, with all columns that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _point(entry: dict[str, Any]) -> Point:
    steps = tuple(Step(**step) for step in entry.pop("steps"))
    return Point(load=Load(**entry.pop("load")), steps=steps, **entry)
