"""How long jobs take from file to file, and how much memory: python -m perf job VIDEO SPEECH.

Each run is a process of its own, so that its peak memory is its own too. The embedded server's start is excluded
from the seconds per second of video and printed beside them. Other options go to the command lipsync.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.arguments import whole_number
from perf.machine.conditions import limit_cores, processor_name, usable_cores
from perf.machine.gpu import GpuSampler, local_look
from perf.machine.memory import MemorySampler

SCRIPT = DEFAULT_REPOSITORY.parent / "client" / "lipsync.py"
COLUMNS = ("duration_s", "seconds", "realtime_factor", "server_start_s", "peak_rss_mb")


@dataclass(frozen=True)
class JobRun:
    """One job: its own report, and what its processes held at most.

    Attributes:
        report: as `lipsync --json` prints it.
        peak_host_mb: of the client and, where it started one, the server with its Python stubs, together.
        gpu: figures of the GPU while it ran; empty without one.
    """

    report: Mapping[str, Any]
    peak_host_mb: float
    gpu: Mapping[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job several times and print medians.

    Raises:
        ValueError: the job failed.
    """
    parser = argparse.ArgumentParser(prog="python -m perf job", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--runs", type=whole_number, default=3, metavar="N", help="(%(default)s)")
    parser.add_argument("--cores", type=int, help="use only this many of the processor's cores")
    options, passed_on = parser.parse_known_args(argv)
    limit_cores(options.cores)
    print(f"{processor_name()}, {usable_cores()} cores, {options.runs} runs")
    runs = [run_job(options.video, options.speech, passed_on) for _ in range(options.runs)]
    for name in COLUMNS:
        print_median(name, [run.report[name] for run in runs if run.report[name] is not None])
    print_median("peak_host_mb", [run.peak_host_mb for run in runs])
    print("seconds per stage, last run (stages overlap):", json.dumps(runs[-1].report["seconds_per_stage"]))
    return 0


def run_job(
    video: Path,
    speech: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    gpus: Sequence[int] = (),
) -> JobRun:
    """Run one job in a process of its own and watch it.

    Args:
        video: its video.
        speech: its speech.
        arguments: options of the command lipsync.
        environment: of the process; this one's by default.
        gpus: indices of those to watch.

    Raises:
        ValueError: the job failed; the message is its own line.
    """
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        files = ["--video", str(video), "--audio", str(speech), "--output", f"{folder}/out.mp4"]
        command = [sys.executable, str(SCRIPT), *files, "--json", "--quiet", *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
            try:
                with MemorySampler(process.pid) as memory, GpuSampler(local_look(gpus) if gpus else None) as sampler:
                    output, errors = process.communicate()
            except BaseException:
                process.terminate()  # the job then removes what it wrote and ends its server
                process.communicate()
                raise
        if process.returncode:
            said = errors.strip().splitlines() or [f"lipsync: ended with {process.returncode}"]
            raise ValueError(said[0])
        return JobRun(json.loads(output), round(memory.peak_mb, 1), sampler.figures)


def print_median(name: str, values: Sequence[float]) -> None:
    """Print one line of figures, if there are any."""
    if values:
        print(f"{name:18} median {statistics.median(values):9.2f}   min {min(values):9.2f}   max {max(values):9.2f}")


if __name__ == "__main__":
    sys.exit(main())
