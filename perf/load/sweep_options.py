"""The command line of sweeps: which models are put under which loads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.offer import no_exported_models
from lipsync_core.contract import ModelContract
from lipsync_core.repository import DEFAULT_REPOSITORY, exported_models, required_models
from perf.load.results import Load, Mode, Transport
from perf.load.sample_data import SampleMaker
from perf.load.sample_values import DEFAULT_FRAME_SIZE

DEFAULT_OUTPUT = DEFAULT_REPOSITORY.parent / "build" / "perf" / "sweep"
TRANSPORTS: tuple[Transport, ...] = ("grpc", "shm")
DESCRIPTION = """\
Throughput and latency of every model under load, measured with Triton's perf_analyzer.

Serves the exported models one after the other and measures each for every combination of batch, transport and
concurrency (or request rate). Results are written after every point, so the same command continues an interrupted
sweep. With --url it measures a running server instead.
"""


@dataclass(frozen=True)
class SweepOptions:
    """What to measure; `interval_s` is the length of each of the three windows of a point."""

    models: tuple[str, ...]
    repository: Path
    output: Path
    url: str | None
    metrics_url: str | None
    flavour: str | None
    batches: tuple[int, ...]
    transports: tuple[Transport, ...]
    mode: Mode
    values: tuple[float, ...]
    interval_s: float
    frame_size: int
    max_spread: float
    peaks: tuple[float, float] | None = None  # GFLOP/s and GB/s of the device; None for the CPU's


def sweep_options(arguments: argparse.Namespace) -> SweepOptions:
    """Check the parsed command line.

    Raises:
        ValueError: a model is not in the repository or not exported, or there is none.
    """
    repository: Path = arguments.model_repository
    required_models(repository, list(arguments.models))  # raises for unknown models
    possible = measurable_models(repository, arguments.model_config_name)
    missing = [model for model in arguments.models if model not in possible]
    if missing and arguments.url is None:
        raise ValueError(
            f"model: expected exported models whose inputs' makers are exported too, got {', '.join(missing)}."
            " See: python -m export --help"
        )
    models = tuple(arguments.models or possible)
    if not models:
        raise no_exported_models(repository)
    return SweepOptions(
        models=models,
        repository=repository,
        output=arguments.output,
        url=arguments.url,
        metrics_url=arguments.metrics_url,
        flavour=arguments.model_config_name,
        batches=arguments.batch,
        transports=TRANSPORTS if arguments.transport == "both" else (arguments.transport,),
        mode="rate" if arguments.rate else "concurrency",
        values=arguments.rate or arguments.concurrency,
        interval_s=arguments.interval,
        frame_size=arguments.frame_size,
        max_spread=arguments.max_spread,
        peaks=arguments.peaks,
    )


def measurable_models(repository: Path, flavour: str | None) -> list[str]:
    """Return the exported models whose inputs can be made, and print on stderr which are left out."""
    exported, maker = exported_models(repository), SampleMaker(repository, flavour)
    missing = [model for model in maker.contracts if model not in exported]
    if missing:
        say(f"not exported, so not measured: {', '.join(missing)} (see: python -m export --help)")
    streams = [model for model in exported if maker.contracts[model].is_decoupled]
    if streams:
        say(
            f"not measured, as they answer streams instead of requests: {', '.join(streams)} (see: python -m perf live)"
        )
        exported = [model for model in exported if model not in streams]
    possible = [model for model in exported if set(maker.needed_models(model)) <= set(exported)]
    left_out = [model for model in exported if model not in possible]
    if left_out:
        say(f"not measured, since the models that make their inputs are not exported: {', '.join(left_out)}")
    return possible


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m perf sweep", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="models or ensembles (all exported ones)")
    parser.add_argument(
        "--concurrency", type=whole_numbers, default=(1, 2, 4), metavar="N,N", help="requests at once (1,2,4)"
    )
    parser.add_argument("--rate", type=rates, metavar="R,R", help="requests per second, instead of --concurrency")
    parser.add_argument(
        "--batch", type=whole_numbers, default=(1, 16), metavar="N,N", help="frames or images per request (1,16)"
    )
    parser.add_argument("--transport", choices=["both", *TRANSPORTS], default="both", help="(%(default)s)")
    parser.add_argument(
        "--interval", type=positive, default=1.0, metavar="S", help="length of each of three windows (1)"
    )
    parser.add_argument("--frame-size", type=int, default=DEFAULT_FRAME_SIZE, metavar="PIXELS", help="(%(default)s)")
    parser.add_argument(
        "--max-spread",
        type=positive,
        default=0.25,
        metavar="X",
        help="largest spread of a stable point (%(default)s)",
    )
    parser.add_argument(
        "--peaks",
        type=peaks,
        metavar="GFLOP/S,GB/S",
        help="peak performance for the roofline, such as a GPU's (measured on the CPU)",
    )
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="(%(default)s)")
    parser.add_argument("--restart", action="store_true", help="start over; old results are renamed, not deleted")
    parser.add_argument("--cores", type=int, help="use only this many CPU cores")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--metrics-url", metavar="HOST:PORT", help="that server's metrics, for the use of its GPUs")
    parser.add_argument("--model-config-name", metavar="FLAVOUR", help="flavour to serve, as in lipsync serve")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    return parser


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers of at least 1, separated by commas.

    Raises:
        ArgumentTypeError: the text is something else.
    """
    numbers = tuple(int(part) if part.strip().isdecimal() else 0 for part in text.split(","))
    if not all(number >= 1 for number in numbers):
        raise argparse.ArgumentTypeError(f"expected whole numbers of at least 1, separated by commas, got {text!r}")
    return numbers


def rates(text: str) -> tuple[float, ...]:
    """Parse positive numbers, separated by commas.

    Raises:
        ArgumentTypeError: the text is something else.
    """
    return tuple(positive(part) for part in text.split(","))


def peaks(text: str) -> tuple[float, float]:
    """Parse two positive numbers, separated by a comma.

    Raises:
        ArgumentTypeError: the text is something else.
    """
    numbers = rates(text)
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(f"expected GFLOP/s and GB/s, separated by a comma, got {text!r}")
    return numbers[0], numbers[1]


def positive(text: str) -> float:
    """Parse a positive, finite number.

    Raises:
        ArgumentTypeError: the text is something else.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


def planned_loads(options: SweepOptions) -> list[Load]:
    """Return all points to measure: each batch that a model takes, transport, and concurrency or rate."""
    maker = SampleMaker(options.repository, options.flavour, options.frame_size)
    return [
        Load(model, batch, transport, options.mode, value)
        for model in options.models
        for batch in possible_batches(maker.contracts[model], options.batches)
        for transport in options.transports
        for value in options.values
    ]


def possible_batches(contract: ModelContract, wanted: Sequence[int]) -> list[int]:
    """Return the wanted batches; those that are too large for the model are replaced by its largest."""
    largest = contract.max_batch_size or max(wanted)
    return sorted({min(batch, largest) for batch in wanted})


def say(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)
