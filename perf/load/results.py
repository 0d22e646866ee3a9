"""Results of sweeps: measured points with their conditions, written as JSON and CSV after every point."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perf.result_files import reading, save_results

Transport = Literal["grpc", "shm"]
Mode = Literal["concurrency", "rate"]
Status = Literal["ok", "unstable", "crashed"]
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
        points = [dataclasses.asdict(point) for point in self.points.values()]
        work = {model: dataclasses.asdict(counted) for model, counted in self.work.items()}
        table = [self._row(point) for point in self.points.values()]
        save_results(folder, KIND, self.conditions, {"work": work, "points": points}, table)

    def _row(self, point: Point) -> dict[str, Any]:
        steps = "; ".join(
            f"{step.model} queue {step.queue_ms:.3f} ms compute {step.compute_ms:.3f} ms" for step in point.steps
        )
        flat = {"status": point.status, "note": point.note, "time": point.time, **point.figures, "steps": steps}
        return {**dataclasses.asdict(point.load), **flat}


def load_results(path: Path) -> Results:
    """Read results from a folder or its JSON file.

    Raises:
        ValueError: the file is missing, or holds something else.
    """
    with reading(path, KIND) as document:
        points = [_point(entry) for entry in document["points"]]
        work = {model: Work(**counted) for model, counted in document["work"].items()}
        return Results(document["conditions"], {point.load: point for point in points}, work)


def _point(entry: dict[str, Any]) -> Point:
    steps = tuple(Step(**step) for step in entry.pop("steps"))
    return Point(load=Load(**entry.pop("load")), steps=steps, **entry)
