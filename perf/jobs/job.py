"""How long one job takes from file to file, and how much memory: python -m perf job VIDEO AUDIO.

Each run is a process of its own, so that its peak memory is its own too. Seconds per second of video exclude the start
of the embedded server, which is printed beside them. Other options go to the command lipsync.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from perf.arguments import whole_number
from perf.jobs.timing import JobTimes, job_in_child, time_job
from perf.machine.conditions import limit_cores, processor_name, usable_cores

REPORTED = ("duration_s", "seconds", "realtime_factor", "server_start_s", "peak_rss_mb")  # fields of the job's report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job several times and print medians.

    Raises:
        ValueError: the job failed.
    """
    parser = argparse.ArgumentParser(prog="python -m perf job", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument("--runs", type=whole_number, default=3, metavar="N", help="number of runs (%(default)s)")
    parser.add_argument("--cores", type=int, help="use only this many CPU cores")
    options, passed_on = parser.parse_known_args(argv)
    limit_cores(options.cores)
    print(f"{processor_name()}, {usable_cores()} cores, {options.runs} runs")
    print(as_table(time_job(job_in_child(options.video, options.audio, passed_on), options.runs)))
    return 0


def as_table(times: JobTimes) -> str:
    """Return a line for each figure that the runs have, and the stages of the last run."""
    columns = {name: [getattr(run.report, name) for run in times.runs] for name in REPORTED}
    columns["peak_host_mb"] = [run.peak_host_mb for run in times.runs]
    known = {name: [value for value in values if value is not None] for name, values in columns.items()}
    lines = [
        f"{name:18} median {statistics.median(values):9.2f}   min {min(values):9.2f}   max {max(values):9.2f}"
        for name, values in known.items()
        if values
    ]
    stages = json.dumps(times.runs[-1].report.seconds_per_stage)
    return "\n".join([*lines, f"seconds per stage, last run (stages overlap): {stages}"])


if __name__ == "__main__":
    sys.exit(main())
