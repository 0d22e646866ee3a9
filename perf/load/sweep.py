"""Measures models under load, point by point, and saves after each: python -m perf sweep."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from client.errors import LipSyncError, ServerUnavailable
from client.servers.addresses import parse_address
from client.servers.channel import open_channel
from client.servers.connection import TritonConnection
from client.servers.security import IN_THE_CLEAR
from lipsync_core.contract import ModelContract
from lipsync_core.serving.gpus import gpus_to_use
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.load.measure import Target, measure_point
from perf.load.perf_analyzer import PerfAnalyzer, find_perf_analyzer
from perf.load.results import (
    IDENTITY,
    Load,
    Point,
    Results,
    Transport,
    load_results,
)
from perf.load.sample_data import SampleMaker
from perf.load.sweep_options import SweepOptions, build_parser, planned_loads, say, sweep_options
from perf.machine.conditions import limit_cores, machine_conditions, now, processor_peaks
from perf.machine.gpu import Look, list_gpus, local_look, metrics_look
from perf.reporting.roofline import served_work
from perf.result_files import CSV_FILE, JSON_FILE, check_identity, set_aside

TRANSPORT: Transport = "grpc"  # for requests of this process: perf_analyzer unregisters all shared memory of the server


def main(argv: Sequence[str] | None = None) -> int:
    """Run or continue a sweep; returns 0 if something was measured and nothing crashed, else 1.

    Raises:
        LipSyncError: the output folder holds results of other conditions.
        ValueError: a model is unknown or not exported, or there is no perf_analyzer.
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
            f"{len(results.points)} points kept in {options.output}. Run the same command to continue"
        ) from None
    return summarise(results, loads, options.output)


def run(options: SweepOptions, analyzer: PerfAnalyzer, results: Results, pending: Sequence[Load]) -> None:
    """Measure the pending points, model by model, and save after each.

    Raises:
        ServerUnavailable: the server of --url stopped answering.
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
    """Measure the points of a model until none is left, or its server stops answering."""
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
    """Count the work of a network for the roofline, unless it is known already."""
    if contract.name not in results.work:
        work = served_work(repository, contract, inputs)
        results.work |= {} if work is None else {contract.name: work}


def keep(results: Results, point: Point, folder: Path) -> None:
    """Add a point, save all results, and print a line."""
    results.points[point.load] = point
    results.save(folder)
    figures = point.figures
    said = f"{figures['items_per_s']:.1f} items/s, p95 {figures['p95_ms']:.1f} ms" if point.is_measured else point.note
    say(f"{point.load}: {said}{'' if point.status == 'ok' else f' ({point.status})'}")


@contextmanager
def open_target(options: SweepOptions, maker: SampleMaker, model: str) -> Iterator[Target]:
    """Open a server with a model and those that make its inputs: the user's, or an embedded one.

    Raises:
        ServerStartError: the embedded server does not start.
        ServerUnavailable: the user's server does not answer.
    """
    contract = maker.contracts[model]
    if options.url is not None:
        with TritonConnection(options.url, TRANSPORT) as connection:
            yield Target(connection, contract, lambda: answers(options.url), gpu_look(options))
        return
    needed = tuple(maker.needed_models(model))
    gpus = gpus_to_use(options.repository, options.flavour)
    server_options = ServerOptions(
        options.repository, needed, config_name=options.flavour, gpu=gpus[0] if gpus else None
    )
    with EmbeddedServer(server_options) as server, TritonConnection(server.url, TRANSPORT) as connection:
        yield Target(connection, contract, server.is_alive, gpu_look(options))


def gpu_look(options: SweepOptions) -> Look | None:
    """Return how to sample the server's GPUs: by its metrics, or by this machine's driver for a local server."""
    if options.metrics_url is not None:
        return metrics_look(options.metrics_url)
    is_here = options.url is None or parse_address(options.url).is_local
    gpus = list_gpus() if is_here else []
    return local_look([gpu.index for gpu in gpus]) if gpus else None


def open_results(options: SweepOptions, analyzer: PerfAnalyzer, *, restart: bool) -> Results:
    """Continue the results in the output folder, or start new ones; old ones are renamed, never deleted.

    Raises:
        LipSyncError: the results there were measured under other conditions.
    """
    conditions = sweep_conditions(options, analyzer)
    path = options.output / JSON_FILE
    if not path.is_file():
        return Results({**conditions, **roof(options)})
    old = load_results(path)
    if restart:
        set_aside(options.output, old.conditions)
        return Results({**conditions, **roof(options)})
    check_identity(path, old.conditions, conditions, IDENTITY)
    return old


def roof(options: SweepOptions) -> dict[str, Any]:
    """Return the peaks that the roofline is drawn from, and what they belong to."""
    if options.peaks is None:
        return {**processor_peaks(), "peaks_of": "the CPU, fp32, measured"}
    return {"peak_gflop_per_s": options.peaks[0], "peak_gb_per_s": options.peaks[1], "peaks_of": "given with --peaks"}


def sweep_conditions(options: SweepOptions, analyzer: PerfAnalyzer) -> dict[str, Any]:
    """Return the conditions of a sweep.

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
    """Return the version of the server; an embedded one is started just for this, without models.

    Raises:
        ServerUnavailable: the server does not answer.
        ServerStartError: the embedded server does not start.
    """
    if options.url is not None:
        with TritonConnection(options.url, TRANSPORT):
            return metadata_version(options.url)
    with EmbeddedServer(ServerOptions(options.repository, ())) as server:
        return metadata_version(server.url)


def metadata_version(url: str) -> str:
    """Return the version of a running server."""
    with open_channel(parse_address(url), IN_THE_CLEAR) as client:
        return str(client.get_server_metadata().version)


def answers(url: str | None) -> bool:
    """Return whether a server is ready."""
    try:
        with TritonConnection(str(url), TRANSPORT):
            return True
    except LipSyncError:
        return False


def summarise(results: Results, loads: Sequence[Load], folder: Path) -> int:
    """Print how many points have which status; returns the exit code."""
    points = [results.points[load] for load in loads if load in results.points]
    counts = {status: sum(point.status == status for point in points) for status in ("ok", "unstable", "crashed")}
    say(", ".join(f"{count} {status}" for status, count in counts.items()))
    say(f"{folder / JSON_FILE} and {CSV_FILE} beside it; look at them with: python -m perf report {folder}")
    return int(counts["crashed"] > 0 or not points)


def one_line(error: Exception) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
