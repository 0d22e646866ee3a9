"""How fast the networks are on a GPU, relative to what the card can do: python -m perf profile-gpu.

Builds full-size networks with synthetic weights on the device and checks them against float32 on the CPU. Then times
them in several precisions, compiled, as CUDA graphs and in larger batches; then whole chunks in each speed mode,
several at once, and with little memory. Parts that do not fit into the time are listed as not measured, and one that is
still under way two minutes later is stopped. Figures are written as they come, and the table at the end, which may be
an interruption.
"""

from __future__ import annotations

import argparse
import csv
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from lipsync_core.programs.device import choose_device
from perf.gpu.checks import check_equality
from perf.gpu.chunk_parts import measure_low_memory, measure_speeds
from perf.gpu.network_parts import measure_batches, measure_peak, measure_unet, measure_vae, measure_wav2lip
from perf.gpu.networks import Size
from perf.gpu.timing import COLUMNS, Profile, Row

# In the order of their importance, for the first size of faces; those of EACH_EDGE are measured for the others too.
PARTS: Mapping[str, Callable[[Profile, int], None]] = {
    "unet": measure_unet,
    "speeds": measure_speeds,
    "low_memory": measure_low_memory,
    "wav2lip_generator": measure_wav2lip,
    "vae": measure_vae,
    "batches": measure_batches,
}
EACH_EDGE = ("unet", "speeds", "vae")
EXIT_WRONG = 1
OVERRUN_S = 120.0  # for a part that began in time, such as one that compiles
WIDTHS = {"what": 34, "variant": 26}
NARROW = 9


class TimeUp(KeyboardInterrupt):
    """The time is up; no `except Exception` on the way keeps it."""


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the figures; returns 1 if a result is wrong."""
    options = build_parser().parse_args(argv)
    try:
        device = choose_device("GPU" if options.device == "cuda" else "CPU")
    except ValueError as error:
        print(f"perf profile-gpu: {error}", file=sys.stderr)
        return EXIT_WRONG
    small = options.size == "small"
    size = Size(small=small, frames=2 if small else 16)
    mode = options.compile or ("default" if options.device == "cuda" else "eager")
    edges = options.edges or ([64] if small else [512, 256])
    profile = Profile(device, size, mode, options.minutes * 60)
    profile.describe()
    with written_rows(profile, options.csv):
        try:
            with stopped_after(profile.budget_s + OVERRUN_S):
                measure(profile, options.parts, edges)
        except TimeUp:
            profile.skip("what was under way, and all after it", "the time is up")
        finally:
            print_table(profile)
    return EXIT_WRONG if profile.wrong else 0


def measure(profile: Profile, parts: list[str] | None, edges: list[int]) -> None:
    """Measure the card, check the networks, and time them if they are right."""
    measure_peak(profile)
    check_equality(profile)
    if not profile.wrong:
        for part, edge in plan(parts, edges):
            profile.run(f"{part}, {edge}", partial(PARTS[part], profile, edge))


@contextmanager
def stopped_after(seconds: float) -> Generator[None]:
    """Raise TimeUp in the main thread when the time is up, whatever it does then.

    Raises:
        TimeUp: The time is up.
    """

    def stop(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def written_rows(profile: Profile, path: Path | None) -> Generator[None]:
    """Write each row to a CSV file as it comes, unrounded, with the card and the version of torch."""
    if path is None:
        yield
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "card", "torch", "matrix_tflops"])
        writer.writeheader()

        def write(row: Row) -> None:
            common = {"card": profile.card, "torch": torch.__version__, "matrix_tflops": profile.peak / 1e12}
            writer.writerow({**row, **common})
            file.flush()

        profile.on_row = write
        yield


def plan(parts: list[str] | None, edges: list[int]) -> list[tuple[str, int]]:
    """Return parts with sizes of faces, all for the first size, then those that differ for the others."""
    chosen = parts or list(PARTS)
    others = [(part, edge) for edge in edges[1:] for part in chosen if part in EACH_EDGE]
    return [(part, edges[0]) for part in chosen] + others


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m perf profile-gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: the networks of the tests")
    parser.add_argument(
        "--edges", type=int, nargs="+", metavar="PIXELS", help="edge lengths of the faces (default: 512 256)"
    )
    parser.add_argument("--parts", choices=tuple(PARTS), nargs="+", help="measure only these, in this order")
    parser.add_argument("--compile", choices=("eager", "default", "max-autotune"), help="default: as served")
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="time limit; what does not fit is left out (%(default)s)"
    )
    parser.add_argument("--csv", type=Path, help="write each figure to this file as it comes")
    return parser


def print_table(profile: Profile) -> None:
    """Print the table, what was not measured, and what is wrong."""
    print(f"\n{torch.__version__}, {profile.card}, matrix peak {profile.peak / 1e12:.1f} TFLOP/s measured")
    print("".join(name.ljust(WIDTHS.get(name, NARROW)) for name in COLUMNS))
    for row in profile.rows:
        print("".join(_cell(row.get(name)).ljust(WIDTHS.get(name, NARROW)) for name in COLUMNS))
    for line in [*profile.left_out, *profile.wrong]:
        print(line)


def _cell(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value if value is not None else "")


if __name__ == "__main__":
    sys.exit(main())
