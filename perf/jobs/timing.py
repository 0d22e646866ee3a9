"""The one way to time a lip-sync job: run it several times, here or in a child process, and sum up the runs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from client.job import Job
from client.job_options import JobOptions
from client.option import flag
from client.quality.options import CHECK
from client.report import Report
from client.servers.calls import TritonCalls
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.machine.gpu import GpuSampler, local_look
from perf.machine.memory import MemorySampler

SCRIPT = DEFAULT_REPOSITORY.parent / "client" / "lipsync.py"


@dataclass(frozen=True)
class JobRun:
    """One finished run of a job.

    Attributes:
        report: The job's own report, as `lipsync --json` prints it.
        peak_host_mb: Peak memory of the client and the server that it started, in MB; None for a run in this process.
        gpu: Figures of the watched GPUs during the run, by name; empty without any.
    """

    report: Report
    peak_host_mb: float | None = None
    gpu: Mapping[str, float] = field(default_factory=dict)


RunJob = Callable[[], JobRun]


@dataclass(frozen=True)
class JobTimes:
    """The runs of one job, at least one, and what they have in common.

    Times are medians, memory is the maximum of all runs. Seconds count from opening the media to the finished file,
    without the start of an embedded server.
    """

    runs: Sequence[JobRun]

    @property
    def seconds(self) -> float:
        """Median time of a run, in seconds."""
        return statistics.median(run.report.seconds for run in self.runs)

    @property
    def seconds_per_second(self) -> float:
        """Median time of a run per second of the output video."""
        return self.seconds / self.runs[0].report.duration_s

    @property
    def frames_per_second(self) -> float:
        """Output frames per second of the median run."""
        return self.runs[0].report.frames / self.seconds

    @property
    def spread(self) -> float:
        """Difference between the slowest and the fastest run, relative to the median."""
        seconds = [run.report.seconds for run in self.runs]
        return (max(seconds) - min(seconds)) / self.seconds

    @property
    def middle(self) -> JobRun:
        """The run with the median time; the slower of two."""
        return sorted(self.runs, key=lambda run: run.report.seconds)[len(self.runs) // 2]

    @property
    def server_start_s(self) -> float | None:
        """Median time to start the embedded server, in seconds; None with a running server."""
        return _median([run.report.server_start_s for run in self.runs])

    @property
    def peak_host_mb(self) -> float | None:
        """Peak memory of the client and its server, in MB; None if the job ran in this process."""
        return max((run.peak_host_mb for run in self.runs if run.peak_host_mb is not None), default=None)

    @property
    def peak_gpu_mb(self) -> float | None:
        """Peak memory of a watched GPU, in MB; None without GPUs."""
        return max((run.gpu["gpu_memory_mb"] for run in self.runs if run.gpu), default=None)


def time_job(
    run_job: RunJob, count: int, *, warm_ups: int = 0, after_each: Callable[[int, JobRun], None] | None = None
) -> JobTimes:
    """Run a job several times, one after the other.

    Args:
        run_job: Runs the job once; see `job_here` and `job_in_child`.
        count: The number of runs that count, at least 1.
        warm_ups: The number of runs before them that do not.
        after_each: Called after each run that counts, with its number from 1.

    Raises:
        LipSyncError: a run failed.
    """
    for _ in range(warm_ups):
        run_job()
    runs = []
    for number in range(1, count + 1):
        runs.append(run_job())
        if after_each is not None:
            after_each(number, runs[-1])
    return JobTimes(runs)


def job_here(options: JobOptions, connect: Callable[[], AbstractContextManager[TritonCalls]]) -> RunJob:
    """Make a job that runs in this process, on a new connection for each run, and unless its options say so, unchecked.

    Args:
        options: The job.
        connect: Opens the connection; `lambda: nullcontext(connection)` keeps an open one.
    """
    unchecked = options if options.values.has(CHECK) else options.with_options({CHECK.name: "off"})

    def run() -> JobRun:
        with Job(unchecked) as job, connect() as connection:
            return JobRun(job.run(connection))

    return run


def job_in_child(
    video: Path,
    audio: Path,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    gpus: Sequence[int] = (),
) -> RunJob:
    """Make a job that runs `client/lipsync.py` in a child process, so that its peak memory is its own.

    Its result is not checked unless `arguments` say so.

    Args:
        video: The input video.
        audio: The speech.
        arguments: Further options of the command `lipsync`.
        environment: The child's environment variables; by default those of this process.
        gpus: Indices of the GPUs to watch.

    Raises:
        ValueError: a run failed; the message is the line that it printed.
    """

    def run() -> JobRun:
        with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
            files = ["--video", str(video), "--audio", str(audio), "--output", f"{folder}/out.mp4"]
            command = [sys.executable, str(SCRIPT), *files, "--json", "--quiet", flag(CHECK.name), "off", *arguments]
            return _watch(command, environment, gpus)

    return run


def _watch(command: Sequence[str], environment: Mapping[str, str] | None, gpus: Sequence[int]) -> JobRun:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            with MemorySampler(process.pid) as memory, GpuSampler(local_look(gpus) if gpus else None) as sampler:
                output, errors = process.communicate()
        except BaseException:
            process.terminate()  # the job then removes its files and stops its server
            process.communicate()
            raise
    if process.returncode:
        lines = errors.strip().splitlines() or [f"lipsync: exit code {process.returncode}"]
        raise ValueError(lines[0])
    return JobRun(Report(**json.loads(output)), round(memory.peak_mb, 1), sampler.figures)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
