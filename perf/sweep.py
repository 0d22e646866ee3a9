"""Throughput and latency of every model under load, measured with Triton's perf_analyzer.

python -m perf sweep serves each model that is exported, one after the other, and measures it for every combination of
batch, transport and concurrency (or request rate). Results are kept after every point: the same command goes on where
an interrupted one stopped. With --url it measures a running server instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc

from client.connection import TritonConnection
from client.errors import LipSyncError, ServerUnavailable
from client.serve import DEFAULT_REPOSITORY, exported_models
from lipsync_core.contract import ModelContract, required_models
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.conditions import limit_cores, machine_conditions, now, processor_peaks
from perf.measure import Target, measure_point
from perf.perf_analyzer import PerfAnalyzer, find_perf_analyzer
from perf.results import (
    CSV_FILE,
    IDENTITY,
    JSON_FILE,
    Load,
    Mode,
    Point,
    Results,
    Transport,
    check_identity,
    load_results,
    set_aside,
)
from perf.roofline import served_work
from perf.sample_data import DEFAULT_FRAME_SIZE, SampleMaker

DEFAULT_OUTPUT = DEFAULT_REPOSITORY.parent / "build" / "perf" / "sweep"
TRANSPORT: Transport = "grpc"  # of our own requests: perf_analyzer makes the server forget all shared memory it knows
TRANSPORTS: tuple[Transport, ...] = ("grpc", "shm")


@dataclass(frozen=True)
class SweepOptions:
    """What to measure, and how long each of a point's three windows is."""

    models: tuple[str, ...]
    repository: Path
    output: Path
    url: str | None
    flavour: str | None
    batches: tuple[int, ...]
    transports: tuple[Transport, ...]
    mode: Mode
    values: tuple[float, ...]
    interval_s: float
    frame_size: int
    max_spread: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run or continue a sweep; 0 when anything was measured and nothing crashed, else 1.

    Raises:
        ValueError: an unknown model, no perf_analyzer, or results of other conditions in the output folder.
        ServerUnavailable: the server of --url does not answer.
    """
    arguments = build_parser().parse_args(argv)
    limit_cores(arguments.cores)
    options = sweep_options(arguments)
    analyzer = find_perf_analyzer()
    results = open_results(options, analyzer, restart=arguments.restart)
    loads = planned_loads(options)
    pending = [load for load in loads if load not in results.points or not results.points[load].is_measured]
    say(f"{len(loads)} points, {len(loads) - len(pending)} measured already; results in {options.output}")
    try:
        run(options, analyzer, results, pending)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{len(results.points)} points kept in {options.output}. Run the same command to go on"
        ) from None
    return summarise(results, loads, options.output)


def run(options: SweepOptions, analyzer: PerfAnalyzer, results: Results, pending: Sequence[Load]) -> None:
    """Measure what is pending, model by model; keep every point at once.

    Raises:
        ServerUnavailable: the server of --url went away.
    """
    maker = SampleMaker(options.repository, options.flavour, options.frame_size)
    for model in dict.fromkeys(load.model for load in pending):
        left = [load for load in pending if load.model == model]
        while left:
            try:
                with open_target(options, maker, model) as target:
                    measure_model(options, analyzer, target, maker, left, results)
            except (ServerStartError, LipSyncError) as error:
                if options.url is not None and isinstance(error, ServerUnavailable):
                    raise ServerUnavailable(
                        f"{error} ({len(results.points)} points kept in {options.output})"
                    ) from error
                while left:
                    keep(results, Point(left.pop(0), "crashed", now(), one_line(error)), options.output)


def measure_model(
    options: SweepOptions,
    analyzer: PerfAnalyzer,
    target: Target,
    maker: SampleMaker,
    left: list[Load],
    results: Results,
) -> None:
    """Measure a model's points until none is left, or its server is gone."""
    while left:
        load = left[0]
        try:
            inputs = maker.inputs(target.connection, load.model, load.batch)
            count_work_once(options.repository, target.contract, inputs, results)
            point = measure_point(analyzer, target, load, inputs, options.interval_s, options.max_spread)
        except ServerUnavailable as error:
            left.pop(0)
            keep(results, Point(load, "crashed", now(), one_line(error)), options.output)
            if options.url is not None:
                raise
            return
        except (LipSyncError, ValueError) as error:
            point = Point(load, "crashed", now(), one_line(error))
        left.pop(0)
        keep(results, point, options.output)


def count_work_once(
    repository: Path, contract: ModelContract, inputs: Mapping[str, np.ndarray], results: Results
) -> None:
    """Count a network's work for the roofline, unless that has been done."""
    if contract.name not in results.work:
        work = served_work(repository, contract, inputs)
        results.work |= {} if work is None else {contract.name: work}


def keep(results: Results, point: Point, folder: Path) -> None:
    """Add a point, save everything, and say so."""
    results.points[point.load] = point
    results.save(folder)
    figures = point.figures
    said = f"{figures['items_per_s']:.1f} items/s, p95 {figures['p95_ms']:.1f} ms" if point.is_measured else point.note
    say(f"{point.load}: {said}{'' if point.status == 'ok' else f' ({point.status})'}")


@contextmanager
def open_target(options: SweepOptions, maker: SampleMaker, model: str) -> Iterator[Target]:
    """Give a server that holds a model and those that make its inputs: the user's, or one of our own.

    Raises:
        ServerStartError: our own does not start.
        ServerUnavailable: the user's does not answer.
    """
    contract = maker.contracts[model]
    if options.url is not None:
        with TritonConnection(options.url, TRANSPORT) as connection:
            yield Target(connection, contract, is_alive=lambda: answers(options.url))
        return
    needed = tuple(maker.needed_models(model))
    server_options = ServerOptions(options.repository, needed, config_name=options.flavour)
    with EmbeddedServer(server_options) as server, TritonConnection(server.url, TRANSPORT) as connection:
        yield Target(connection, contract, is_alive=server.is_alive)


def open_results(options: SweepOptions, analyzer: PerfAnalyzer, *, restart: bool) -> Results:
    """Continue the results in the output folder, or begin new ones; old ones are renamed, never lost.

    Raises:
        ValueError: what is there was measured under other conditions.
    """
    conditions = sweep_conditions(options, analyzer)
    path = options.output / JSON_FILE
    if not path.is_file():
        return Results({**conditions, **processor_peaks()})
    old = load_results(path)
    if restart:
        set_aside(options.output, old.conditions)
        return Results({**conditions, **processor_peaks()})
    check_identity(path, old.conditions, conditions, IDENTITY)
    return old


def sweep_conditions(options: SweepOptions, analyzer: PerfAnalyzer) -> dict[str, Any]:
    """Say what a sweep runs on.

    Raises:
        ServerUnavailable: the server of --url does not answer.
    """
    own = {
        "triton": triton_version(options),
        "server": options.url or "embedded",
        "flavour": options.flavour or "default",
        "frame_size": options.frame_size,
        "interval_s": options.interval_s,
        "perf_analyzer": analyzer.version,
        "command": " ".join(["python -m perf", *sys.argv[1:]]),
    }
    return {**machine_conditions(), **own}


def triton_version(options: SweepOptions) -> str:
    """Ask the server for its version; our own is started for this alone, with the smallest model.

    Raises:
        ServerUnavailable: it does not answer.
        ServerStartError: our own does not start.
    """
    if options.url is not None:
        with TritonConnection(options.url, TRANSPORT):
            return metadata_version(options.url)
    with EmbeddedServer(ServerOptions(options.repository, ())) as server:
        return metadata_version(server.url)


def metadata_version(url: str) -> str:
    """Ask a running server for its version."""
    with triton_grpc.InferenceServerClient(url) as client:
        return str(client.get_server_metadata().version)


def answers(url: str | None) -> bool:
    """Whether a server is there and ready."""
    try:
        with TritonConnection(str(url), TRANSPORT):
            return True
    except LipSyncError:
        return False


def planned_loads(options: SweepOptions) -> list[Load]:
    """List all points: every batch that a model takes, each transport, each concurrency or rate."""
    maker = SampleMaker(options.repository, options.flavour, options.frame_size)
    return [
        Load(model, batch, transport, options.mode, value)
        for model in options.models
        for batch in possible_batches(maker.contracts[model], options.batches)
        for transport in options.transports
        for value in options.values
    ]


def possible_batches(contract: ModelContract, wanted: Sequence[int]) -> list[int]:
    """The wanted batches, larger ones than the model takes replaced by its largest."""
    largest = contract.max_batch_size or max(wanted)
    return sorted({min(batch, largest) for batch in wanted})


def summarise(results: Results, loads: Sequence[Load], folder: Path) -> int:
    """Say how it went."""
    points = [results.points[load] for load in loads if load in results.points]
    counts = {status: sum(point.status == status for point in points) for status in ("ok", "unstable", "crashed")}
    say(", ".join(f"{count} {status}" for status, count in counts.items()))
    say(f"{folder / JSON_FILE} and {CSV_FILE} beside it; look at them with: python -m perf report {folder}")
    return int(counts["crashed"] > 0 or not points)


def say(text: str) -> None:
    """Tell the user on stderr."""
    print(text, file=sys.stderr, flush=True)


def one_line(error: Exception) -> str:
    """An error's words in one line."""
    return " ".join(str(error).split())


def sweep_options(arguments: argparse.Namespace) -> SweepOptions:
    """Check the command line.

    Raises:
        ValueError: a model is not in the repository or not exported, or there is none.
    """
    repository: Path = arguments.model_repository
    required_models(repository, list(arguments.models))  # an unknown model is named, with those that there are
    possible = measurable_models(repository, arguments.model_config_name)
    missing = [model for model in arguments.models if model not in possible]
    if missing and arguments.url is None:
        raise ValueError(
            f"model: expected one that is exported, with what makes its inputs, got {', '.join(missing)}."
            " See: python -m export --help"
        )
    models = tuple(arguments.models or possible)
    if not models:
        raise ValueError(f"{repository}: expected at least one exported model, got none. Run: make models")
    return SweepOptions(
        models=models,
        repository=repository,
        output=arguments.output,
        url=arguments.url,
        flavour=arguments.model_config_name,
        batches=arguments.batch,
        transports=TRANSPORTS if arguments.transport == "both" else (arguments.transport,),
        mode="rate" if arguments.rate else "concurrency",
        values=arguments.rate or arguments.concurrency,
        interval_s=arguments.interval,
        frame_size=arguments.frame_size,
        max_spread=arguments.max_spread,
    )


def measurable_models(repository: Path, flavour: str | None) -> list[str]:
    """Name the exported models whose inputs' makers are exported too; say on stderr which are left out."""
    exported, maker = exported_models(repository), SampleMaker(repository, flavour)
    possible = [model for model in exported if set(maker.needed_models(model)) <= set(exported)]
    left_out = [model for model in exported if model not in possible]
    if left_out:
        say(f"not measured, as what makes their inputs is not exported: {', '.join(left_out)}")
    return possible


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m perf sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="models and ensembles (all that are exported)")
    parser.add_argument(
        "--concurrency", type=whole_numbers, default=(1, 2, 4), metavar="N,N", help="requests at once (1,2,4)"
    )
    parser.add_argument("--rate", type=rates, metavar="R,R", help="requests per second, instead of --concurrency")
    parser.add_argument(
        "--batch", type=whole_numbers, default=(1, 16), metavar="N,N", help="frames or images per request (1,16)"
    )
    parser.add_argument("--transport", choices=["both", *TRANSPORTS], default="both", help="(%(default)s)")
    parser.add_argument("--interval", type=positive, default=1.0, metavar="S", help="of each of three windows (1)")
    parser.add_argument("--frame-size", type=int, default=DEFAULT_FRAME_SIZE, metavar="PIXELS", help="(%(default)s)")
    parser.add_argument(
        "--max-spread", type=positive, default=0.25, metavar="X", help="of a stable point's windows (%(default)s)"
    )
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="(%(default)s)")
    parser.add_argument("--restart", action="store_true", help="begin anew; the old results are renamed")
    parser.add_argument("--cores", type=int, help="use only this many of the processor's cores")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton instead of one of our own")
    parser.add_argument("--model-config-name", metavar="FLAVOUR", help="what is served, as in lipsync serve")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    return parser


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers of at least 1, separated by commas."""
    numbers = tuple(int(part) if part.strip().isdecimal() else 0 for part in text.split(","))
    if not all(number >= 1 for number in numbers):
        raise argparse.ArgumentTypeError(f"expected whole numbers of at least 1, separated by commas, got {text!r}")
    return numbers


def rates(text: str) -> tuple[float, ...]:
    """Parse positive numbers, separated by commas."""
    return tuple(positive(part) for part in text.split(","))


def positive(text: str) -> float:
    """Parse a positive number."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
