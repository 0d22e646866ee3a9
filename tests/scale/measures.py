"""What is measured on a cluster of machines that are processes of this one."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.ray_cluster import RayTestCluster
from tests.scale.batch import WatchedBatch, jobs_per_second, overhead_s
from tests.scale.jobs import CLIPS, NULL, SHARED, WAITING, command_with, write_null_jobs, write_waiting_jobs

ONE_JOB = ("--ray-cpus", "1")  # at once on each machine
FOUR_JOBS = ("--ray-cpus", "0.25")


@dataclass(frozen=True)
class Throughput:
    """How fast waiting jobs ran.

    Attributes:
        nodes: machines.
        jobs: jobs.
        wait_s: for which each waited, in seconds.
        jobs_per_minute: throughput.
        overhead_ms: from a job's end to the start of the machine's next, mean.
    """

    nodes: int
    jobs: int
    wait_s: float
    jobs_per_minute: float
    overhead_ms: float


@dataclass(frozen=True)
class Overhead:
    """What it costs to run a job that does nothing, one at a time.

    Attributes:
        jobs: jobs.
        job_ms: for which each ran, its process included, mean.
        overhead_ms: from a job's end to the start of the next, mean.
    """

    jobs: int
    job_ms: float
    overhead_ms: float


@dataclass(frozen=True)
class Queue:
    """A long file of jobs that do nothing.

    Attributes:
        jobs: jobs.
        first_job_s: from the command's start to that of its first job.
        run_s: until all had ended.
        run_peak_mb: the command's peak resident memory.
        list_s: how long the same command then takes to see that all are done.
        list_peak_mb: its peak resident memory.
    """

    jobs: int
    first_job_s: float
    run_s: float
    run_peak_mb: float
    list_s: float
    list_peak_mb: float


@dataclass(frozen=True)
class Accidents:
    """A batch whose machines were killed and frozen.

    Attributes:
        jobs: jobs.
        killed: machines that were killed while it ran.
        frozen: machines that were frozen.
        retried: jobs that were started more than once.
        most_tries: of one job.
        wall_s: until the command had ended.
        wrong: what is wrong with outputs or report, a line each.
    """

    jobs: int
    killed: int
    frozen: int
    retried: int
    most_tries: int
    wall_s: float
    wrong: list[str]


def throughput(cluster: RayTestCluster, nodes: int, rounds: int, wait_s: float) -> Throughput:
    """Run the same number of waiting jobs on each machine."""
    with TemporaryDirectory(prefix="lipsync-scale-") as folder:
        jobs = write_waiting_jobs(Path(folder), nodes * rounds, same=True)
        with _batch(cluster, command_with(WAITING, wait_s), jobs, *ONE_JOB, *SHARED) as batch:
            ended = list(batch)
    return Throughput(nodes, len(ended), wait_s, jobs_per_second(ended) * 60, overhead_s(ended) * 1000)


def overhead(cluster: RayTestCluster, count: int) -> Overhead:
    """Run jobs that do nothing, one at a time; the cluster has one machine."""
    with TemporaryDirectory(prefix="lipsync-scale-") as folder:
        jobs = write_null_jobs(Path(folder), count)
        with _batch(cluster, command_with(NULL), jobs, *ONE_JOB) as batch:
            ended = list(batch)
    job_s = sum(job.seconds for job in ended) / len(ended)
    return Overhead(len(ended), job_s * 1000, overhead_s(ended) * 1000)


def queue(cluster: RayTestCluster, count: int) -> Queue:
    """Run a long file of jobs that do nothing, then run it again."""
    with TemporaryDirectory(prefix="lipsync-scale-") as folder:
        jobs = write_null_jobs(Path(folder), count)
        with _batch(cluster, command_with(NULL), jobs, *FOUR_JOBS) as batch:
            ended = iter(batch)
            first = next(ended)
            assert 1 + sum(1 for _ in ended) == count
        with _batch(cluster, command_with(NULL), jobs, *FOUR_JOBS) as again:
            assert not list(again)
    return Queue(count, batch.started_after_s(first), batch.wall_s, batch.peak_mb, again.wall_s, again.peak_mb)


def accidents(cluster: RayTestCluster, names: tuple[str, str], count: int, wait_s: float) -> Accidents:
    """Kill one machine after a fifth of the jobs and freeze another after two fifths; both come back later."""
    killed, frozen = names
    with TemporaryDirectory(prefix="lipsync-scale-") as text:
        folder = Path(text)
        jobs = write_waiting_jobs(folder, count)
        with _batch(cluster, command_with(WAITING, wait_s), jobs, *ONE_JOB, *SHARED) as batch:
            for number, _ in enumerate(batch, 1):
                if number == count // 5:
                    cluster.kill(killed)
                elif number == 2 * count // 5:
                    cluster.freeze(frozen)
                elif number == 3 * count // 5:
                    cluster.start(f"{killed}-again", cpus=1)
                elif number == 4 * count // 5:
                    cluster.thaw(frozen)
                    cluster.kill(frozen)
                    cluster.start(f"{frozen}-again", cpus=1)
        report = [json.loads(line) for line in (folder / "jobs.report.jsonl").read_text().splitlines()]
        wrong = _wrong_in_report(report, count) + _wrong_outputs(folder, count)
    tries = [entry.get("tries", 1) for entry in report]
    return Accidents(count, 1, 1, sum(number > 1 for number in tries), max(tries), batch.wall_s, wrong)


@contextmanager
def _batch(cluster: RayTestCluster, command: list[str], jobs: Path, *options: str) -> Iterator[WatchedBatch]:
    batch = WatchedBatch(cluster, command, jobs, *options)
    try:
        yield batch
    finally:
        batch.kill()


def _wrong_in_report(report: list[dict], count: int) -> list[str]:
    """Say which jobs the report has not once as done."""
    lines = Counter(entry["line"] for entry in report if entry["status"] == "done")
    return [f"line {number} is done {lines[number]} times" for number in range(1, count + 1) if lines[number] != 1]


def _wrong_outputs(folder: Path, count: int) -> list[str]:
    """Say which outputs are not those of a run on this machine, and what lies beside them."""
    local = [_run_here(folder, number) for number in range(CLIPS)]
    outputs = [folder / "out" / f"{number}.mp4" for number in range(count)]
    differing = [
        output.name
        for number, output in enumerate(outputs)
        if not output.exists() or not filecmp.cmp(output, local[number % CLIPS], shallow=False)
    ]
    extra = {path.name for path in (folder / "out").iterdir()} - {output.name for output in outputs}
    return [f"{name} is not the file of a local run" for name in differing] + [
        f"left behind: {n}" for n in sorted(extra)
    ]


def _run_here(folder: Path, clip: int) -> Path:
    output = folder / f"local{clip}.mp4"
    files = ("--video", folder / f"clip{clip}.mp4", "--audio", folder / "speech.wav", "--output", output)
    command = [sys.executable, "-m", "tests.imitation_triton", *map(str, files), *SHARED, "--quiet"]
    subprocess.run(command, check=True)
    return output
