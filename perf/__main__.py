"""The command `python -m perf`: one subcommand for each measurement."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

from lipsync_core.extras import needs_extra
from lipsync_core.terminal import forgive_streams
from perf.failures import run_command

# Command -> its module in perf/, which has main(arguments) -> exit code, and what it does.
COMMANDS = {
    "sweep": (
        "load.sweep",
        "throughput and latency of every model under load, with perf_analyzer",
    ),
    "benchmark": (
        "jobs.benchmark",
        "time and memory of whole jobs, for every pipeline, speed mode, GPU and sample",
    ),
    "report": ("reporting.report", "write results as one HTML and one Markdown page with tables and plots"),
    "compare": ("reporting.compare", "compare two results of the same kind and mark what changed beyond the noise"),
    "regression": ("jobs.regression", "check that nothing got much slower, by ratios that hold on any machine; for CI"),
    "job": ("jobs.job", "run one job several times: seconds per second of video, time by stage, peak memory"),
    "transcode": ("jobs.transcode", "how much longer a job takes than a plain transcode of its video"),
    "live": ("live.command", "how many live streams run in real time, and how soon the mouth moves"),
    "soak": ("jobs.soak", "watch the memory of one server over many jobs"),
    "sync": ("scores.sync", "how well the mouth in a video follows speech"),
    "quality": ("scores.quality", "judge a result against its source and speech: picture, flicker, lag"),
    "check": ("scores.check", "how well the check of results tells mouths that follow the speech from others"),
    "truth": ("truth.command", "lip-sync clips to their own speech and compare the lips with the true ones"),
    "speakers": ("speakers.command", "how often the right person is found to speak, on scenes composed of clips"),
    "syncnet": ("scores.syncnet.command", "LSE-D, LSE-C and offset by SyncNet, with your copy of its weights"),
    "scaling": ("jobs.scaling", "throughput with one server, two, three"),
    "profile-gpu": ("gpu.profile", "check, time and measure the memory of the networks on a GPU"),
    "server-memory": ("gpu.server_memory", "GPU memory of a running server, all its processes, against a limit"),
    "speed-modes": ("jobs.speed_modes", "what LatentSync's speed modes save, and how far each is from exact"),
    "install-perf-analyzer": (
        "load.install_perf_analyzer",
        "download perf_analyzer from hash-pinned wheels",
    ),
}
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a failure prints one line."""
    forgive_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(usage())
        return 0 if arguments else EXIT_USAGE
    command, *rest = arguments
    if command not in COMMANDS:
        print(f"perf: expected one of {', '.join(COMMANDS)}, got {command!r}", file=sys.stderr)
        return EXIT_USAGE
    try:
        with needs_extra("export,perf"):
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are stopped and files removed
    sys.exit(main())
