"""How long jobs take from file to file, and how much memory: python -m perf job VIDEO SPEECH.

Each run is a process of its own, so that its peak memory is its own too. The embedded server's start is excluded
from the seconds per second of video and printed beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.serve import DEFAULT_REPOSITORY

SCRIPT = DEFAULT_REPOSITORY.parent / "client" / "lipsync.py"
COLUMNS = ("duration_s", "seconds", "realtime_factor", "server_start_s", "peak_rss_mb")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job several times and print medians."""
    parser = argparse.ArgumentParser(prog="python -m perf job", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cores", type=int, help="use only this many of the processor's cores")
    options, passed_on = parser.parse_known_args(argv)
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, {options.runs} runs")
    reports = [run_job(options.video, options.speech, passed_on) for _ in range(options.runs)]
    for name in COLUMNS:
        values = [report[name] for report in reports if report[name] is not None]
        if values:
            print(
                f"{name:18} median {statistics.median(values):9.2f}   min {min(values):9.2f}   max {max(values):9.2f}"
            )
    print("seconds per stage, last run (stages overlap):", json.dumps(reports[-1]["seconds_per_stage"]))
    return 0


def run_job(video: Path, speech: Path, arguments: list[str]) -> dict[str, Any]:
    """Run one job in a process of its own and return its report.

    Raises:
        subprocess.CalledProcessError: the job failed.
    """
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        files = ["--video", str(video), "--audio", str(speech), "--output", f"{folder}/out.mp4"]
        command = [sys.executable, str(SCRIPT), *files, "--json", "--quiet", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        report: dict[str, Any] = json.loads(done.stdout)
        return report


if __name__ == "__main__":
    sys.exit(main())
