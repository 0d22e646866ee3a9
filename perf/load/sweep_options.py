"""The command line of sweeps: which models are put under which loads. Measures nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.offer import exported_models
from lipsync_core.contract import ModelContract
from lipsync_core.repository import DEFAULT_REPOSITORY, required_models
from perf.load.results import Load, Mode, Transport
from perf.load.sample_data import SampleMaker
from perf.load.sample_values import DEFAULT_FRAME_SIZE

DEFAULT_OUTPUT = DEFAULT_REPOSITORY.parent / "build" / "perf" / "sweep"
TRANSPORTS: tuple[Transport, ...] = ("grpc", "shm")
DESCRIPTION = """\
Throughput and latency of every model under load, measured with Triton's perf_analyzer.

Serves each model that is exported, one after the other, and measures it for every combination of batch, transport and
concurrency (or request rate). Results are kept after every point: the same command goes on where an interrupted one
stopped. With --url it measures a running server instead.
"""


@dataclass(frozen=True)
class SweepOptions:
    """What to measure, and how long each of a point's three windows is."""

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
    peaks: tuple[float, float] | None = None  # GFLOP/s and GB/s of what serves, where that is not the processor


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
    """Name the exported models whose inputs' makers are exported too; say on stderr which are left out."""
    exported, maker = exported_models(repository), SampleMaker(repository, flavour)
    missing = [model for model in maker.contracts if model not in exported]
    if missing:
        say(f"not exported, so not measured: {', '.join(missing)} (see: python -m export --help)")
    possible = [model for model in exported if set(maker.needed_models(model)) <= set(exported)]
    left_out = [model for model in exported if model not in possible]
    if left_out:
        say(f"not measured, as what makes their inputs is not exported: {', '.join(left_out)}")
    return possible


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m perf sweep", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
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
    parser.add_argument(
        "--peaks",
        type=peaks,
        metavar="GFLOP/S,GB/S",
        help="the roofline's roof, such as a GPU's (what the processor is measured to do)",
    )
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="(%(default)s)")
    parser.add_argument("--restart", action="store_true", help="begin anew; the old results are renamed")
    parser.add_argument("--cores", type=int, help="use only this many of the processor's cores")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton instead of one of our own")
    parser.add_argument("--metrics-url", metavar="HOST:PORT", help="that server's metrics, for its GPU's use")
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


def peaks(text: str) -> tuple[float, float]:
    """Parse two positive numbers."""
    numbers = rates(text)
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(f"expected GFLOP/s and GB/s, separated by a comma, got {text!r}")
    return numbers[0], numbers[1]


def positive(text: str) -> float:
    """Parse a positive number."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


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


def say(text: str) -> None:
    """Tell the user on stderr."""
    print(text, file=sys.stderr, flush=True)
