"""Command line of the measurements: one sub-command each."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

from perf.failures import run_command

# Command -> its module below perf/, which has main(arguments) -> exit code, and what it measures.
COMMANDS = {
    "sweep": (
        "load.sweep",
        "throughput and latency of every model: concurrency, batch, request rate, transport (perf_analyzer)",
    ),
    "benchmark": (
        "jobs.benchmark",
        "whole jobs from file to file, for every pipeline, speed mode, GPU and sample",
    ),
    "report": ("reporting.report", "one HTML and one Markdown page with tables and plots of results"),
    "compare": ("reporting.compare", "two results of one kind, with what changed beyond the noise"),
    "regression": ("jobs.regression", "quick ratios on this machine against their limits, for CI"),
    "job": ("jobs.job", "one job several times: seconds per second of video, by stage, and peak memory"),
    "soak": ("jobs.soak", "memory of one server over many jobs"),
    "sync": ("scores.sync", "does the mouth in a video follow a speech?"),
    "quality": ("scores.quality", "a result against its source and speech: picture, flicker, lag"),
    "syncnet": ("scores.syncnet.command", "SyncNet's LSE-D, LSE-C and offset, with your weights"),
    "scaling": ("jobs.scaling", "throughput of one server, two, three"),
    "profile-gpu": ("gpu.profile", "the networks on a GPU: correct, how fast, how much memory"),
    "speed-modes": ("jobs.speed_modes", "what LatentSync's speeds save, and how far each is from exact"),
    "install-perf-analyzer": ("load.install_perf_analyzer", "fetch the perf_analyzer binary from hash-pinned wheels"),
}
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one measurement and return the exit code; a failure prints one line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(usage())
        return 0 if arguments else EXIT_USAGE
    command, *rest = arguments
    if command not in COMMANDS:
        print(f"perf: expected one of {', '.join(COMMANDS)}, got {command!r}", file=sys.stderr)
        return EXIT_USAGE
    try:
        module = importlib.import_module(f"perf.{COMMANDS[command][0]}")
        return run_command(f"perf {command}", lambda: int(module.main(rest)))
    except KeyboardInterrupt as interrupt:
        print(f"perf {command}: interrupted{'; ' if str(interrupt) else ''}{interrupt}", file=sys.stderr)
        return EXIT_INTERRUPTED


def usage() -> str:
    """List the commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(["usage: python -m perf COMMAND [--help] ...", "", "commands:", *lines])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers and files go away on every path
    sys.exit(main())
