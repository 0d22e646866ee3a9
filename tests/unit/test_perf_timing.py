from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from client.cli.run import build_parser
from client.job_options import JobOptions
from client.quality.options import CHECK
from client.report import Report
from perf.jobs import timing
from perf.jobs.job import as_table
from perf.jobs.timing import JobRun, JobTimes, time_job


def run(seconds: float, server_start_s: float | None = None, host_mb: float | None = None) -> JobRun:
    """A run of a video of two seconds and fifty frames."""
    report = Report(
        output="out.mp4", job_id="id", model="any", transport="shm", width=64, height=64, video_fps=25.0,
        duration_s=2.0, frames=50, seconds=seconds, server_start_s=server_start_s,
    )  # fmt: skip
    return JobRun(report, host_mb)


def test_times_are_medians_and_memory_is_a_peak() -> None:
    """One slow run changes neither; unknown values are left out."""
    times = JobTimes([run(4.0, 1.0, 300.0), run(9.0, None, 500.0), run(5.0, 2.0, 400.0)])
    assert (times.seconds, times.seconds_per_second, times.frames_per_second) == (5.0, 2.5, 10.0)
    assert times.spread == 1.0
    assert times.middle is times.runs[2]
    assert (times.server_start_s, times.peak_host_mb, times.peak_gpu_mb) == (1.5, 500.0, None)


def test_runs_in_this_process_have_no_memory_of_their_own() -> None:
    """Figures that no run has are None, and have no line in the table."""
    times = JobTimes([run(4.0), run(6.0)])
    assert (times.server_start_s, times.peak_host_mb) == (None, None)
    table = as_table(times)
    assert "seconds            median      5.00   min      4.00   max      6.00" in table
    assert "server_start_s" not in table
    assert "peak_host_mb" not in table


def test_warm_ups_do_not_count() -> None:
    """They run first; each later run is reported with its number."""
    runs: Iterator[JobRun] = iter([run(20.0), run(3.0), run(5.0)])
    seen: list[tuple[int, float]] = []
    times = time_job(
        lambda: next(runs), 2, warm_ups=1, after_each=lambda n, done: seen.append((n, done.report.seconds))
    )
    assert times.seconds == 4.0
    assert seen == [(1, 3.0), (2, 5.0)]


def test_a_failed_run_ends_the_measurement() -> None:
    """Its error passes through."""

    def fail() -> JobRun:
        raise ValueError("lipsync: no face")

    with pytest.raises(ValueError, match="no face"):
        time_job(fail, 3)


@pytest.mark.parametrize(("given", "checks"), [({}, "off"), ({"check": "full"}, "full")])
def test_timed_jobs_are_not_checked_unless_that_is_asked_for(
    given: dict[str, object], checks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here and in a child process: the check would be a part of their time."""
    opened: list[str] = []

    class Opened:
        def __init__(self, options: JobOptions) -> None:
            opened.append(options.values[CHECK])

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def run(self, connection: object) -> Report:
            return run(1.0).report

    monkeypatch.setattr(timing, "Job", Opened)
    options = JobOptions.read(Path("in.mp4"), Path("in.wav"), Path("out.mp4"), given)
    timing.job_here(options, lambda: nullcontext(None))()  # type: ignore[arg-type]
    assert opened == [checks]
    commands: list[list[str]] = []
    monkeypatch.setattr(timing, "_watch", lambda command, *_: commands.append(command) or run(1.0))
    chosen = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    timing.job_in_child(Path("in.mp4"), Path("in.wav"), chosen)()
    arguments = build_parser().parse_args(commands[0][2:])
    assert arguments.check == checks
