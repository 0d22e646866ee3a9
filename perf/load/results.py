"""Results of sweeps: points under one set of conditions, kept as JSON and CSV after every single one."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Transport = Literal["grpc", "shm"]
Mode = Literal["concurrency", "rate"]
Status = Literal["ok", "unstable", "crashed"]
JSON_FILE, CSV_FILE = "results.json", "results.csv"
KIND = "sweep"
# Two results are of one machine and one state of the sources when these agree.
IDENTITY = ("machine", "cores", "gpus", "triton", "flavour", "commit", "frame_size")


@dataclass(frozen=True)
class Load:
    """What one point puts on a model: so many items per request, so many requests at once or per second."""

    model: str
    batch: int
    transport: Transport
    mode: Mode
    value: float

    def __str__(self) -> str:
        """Say it in a few words."""
        unit = "at once" if self.mode == "concurrency" else "requests/s"
        return f"{self.model}, batch {self.batch}, {self.transport}, {self.value:g} {unit}"


@dataclass(frozen=True)
class Work:
    """What one item costs a network, counted.

    Attributes:
        flop: floating-point operations of convolutions and matrix products, two per multiply-add, for one item.
        weight_bytes: read once per execution, whatever the batch.
        item_bytes: inputs and outputs of one item.
    """

    flop: float
    weight_bytes: float
    item_bytes: float

    def intensity(self, batch: float) -> float:
        """Operations per byte that must travel at least: weights once, inputs and outputs once."""
        return self.flop * batch / (self.weight_bytes + self.item_bytes * batch)


@dataclass(frozen=True)
class Step:
    """What the server did in one model while a point was measured.

    Attributes:
        model: the model.
        requests: that it answered.
        executions: that answered them; fewer where the server batched.
        items_per_execution: its mean batch.
        queue_ms: mean wait of a request to it.
        compute_ms: mean time that a request to it was computed, its data's way in and out included.
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
        load: what was put on the model.
        status: ok; unstable, when the windows differ by more than the limit; crashed, when there are no figures.
        note: why it is not ok, in one line.
        time: when it was measured, ISO 8601, UTC.
        figures: by name; `*_ms` as perf_analyzer reports them per request, `items_per_s` frames or images,
            `spread` how far the windows' throughputs lie apart (largest minus smallest over the mean), `gpu_*`
            where there is a GPU.
        steps: the models that worked, those called from within others too.
    """

    load: Load
    status: Status
    time: str
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether there are figures."""
        return self.status != "crashed"


@dataclass
class Results:
    """Points by load, the conditions that they were measured under, and the networks' counted work by model."""

    conditions: dict[str, Any]
    points: dict[Load, Point] = field(default_factory=dict)
    work: dict[str, Work] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write both files; a reader finds the old or the new one, never half of it."""
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
        ValueError: there are none, or it is no such file.
    """
    document = read_document(path, KIND)
    try:
        points = [_point(entry) for entry in document["points"]]
        work = {model: Work(**counted) for model, counted in document["work"].items()}
        return Results(document["conditions"], {point.load: point for point in points}, work)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected results of a sweep, got {error}") from error


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Read one of our JSON files.

    Raises:
        ValueError: it is missing, or holds something else.
    """
    document = read_json(path)
    if document.get("kind") != kind:
        raise ValueError(f"{path}: expected results of a {kind}, got those of a {document.get('kind')}")
    return document


def read_kind(path: Path) -> str:
    """Say what one of our JSON files holds the results of.

    Raises:
        ValueError: it is missing, or none of ours.
    """
    return str(read_json(path)["kind"])


def read_json(path: Path) -> dict[str, Any]:
    """Read a folder's results, or a JSON file.

    Raises:
        ValueError: it is missing, or none of ours.
    """
    file = path / JSON_FILE if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: expected results, got {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{file}: expected results as JSON, got {error}") from error
    if not isinstance(document, dict) or "kind" not in document:
        raise ValueError(f"{file}: expected results of a sweep or a benchmark, got other JSON")
    return document


def check_identity(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> None:
    """Make sure that new points may stand beside old ones.

    Raises:
        ValueError: they were measured under other conditions.
    """
    for name in names:
        if old.get(name) != new[name]:
            raise ValueError(
                f"{path}: expected results with {name} {new[name]!r}, got {old.get(name)!r}."
                " Name another folder with --output, or begin anew with --restart, which keeps the old files"
            )


def set_aside(folder: Path, conditions: Mapping[str, Any]) -> None:
    """Rename a folder's results after the time they were started at."""
    stamp = str(conditions.get("started", "old")).replace(":", "")
    for name in (JSON_FILE, CSV_FILE):
        if (folder / name).is_file():
            (folder / name).rename(folder / f"{stamp}-{name}")


def flat_conditions(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions as columns: lists and mappings as text."""
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in conditions.items()}


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Write rows as CSV, with every column that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _point(entry: dict[str, Any]) -> Point:
    steps = tuple(Step(**step) for step in entry.pop("steps"))
    return Point(load=Load(**entry.pop("load")), steps=steps, **entry)
