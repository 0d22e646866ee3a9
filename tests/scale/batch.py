"""`lipsync batch` on a test cluster, watched from outside: when its jobs end, and where."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tests.conftest import ROOT
from tests.ray_cluster import RayTestCluster
from tests.scale.jobs import PEAK

ENDED = re.compile(r"lipsync: \d+/\d+ .*: done in (?P<seconds>[0-9.]+) s on (?P<node>\S+) ")
NO_SERVER = ("--url", "127.0.0.1:1")  # which no job calls, so that the machines start none


@dataclass(frozen=True)
class EndedJob:
    """A job that has ended well.

    Attributes:
        at: when its line came, by the monotonic clock.
        seconds: how long it ran on its machine.
        node: the machine.
    """

    at: float
    seconds: float
    node: str


class WatchedBatch:
    """A batch that runs. Iterate over it to its end; then it has an exit code.

    Attributes:
        lines: what it said on stderr so far.
    """

    def __init__(self, cluster: RayTestCluster, command: Sequence[str], jobs: Path, *options: str) -> None:
        """Start it."""
        self.lines: list[str] = []
        self._started = time.monotonic()
        where = ["--batch", str(jobs), "--ray", cluster.address, *NO_SERVER]
        self._process = subprocess.Popen(
            [*command, "batch", *where, *options],
            env={**cluster.environment, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __iter__(self) -> Iterator[EndedJob]:
        """Yield each job as it ends.

        Raises:
            AssertionError: the command fails.
        """
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)
            found = ENDED.match(line)
            if found:
                yield EndedJob(time.monotonic(), float(found["seconds"]), found["node"])
        self.wall_s = time.monotonic() - self._started
        assert self._process.wait() == 0, "".join(self.lines[-5:])

    @property
    def peak_mb(self) -> float:
        """Peak resident memory of the command, once it has ended, in MB."""
        return next(float(line.removeprefix(PEAK)) for line in reversed(self.lines) if line.startswith(PEAK))

    def started_after_s(self, first: EndedJob) -> float:
        """Return how long after the command its first job began, in seconds."""
        return first.at - first.seconds - self._started

    def kill(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


def jobs_per_second(ended: Sequence[EndedJob]) -> float:
    """Return the throughput of a cluster: of each machine from the end of its first job to that of its last."""
    return sum((len(times) - 1) / (times[-1] - times[0]) for times in _times_by_node(ended).values())


def overhead_s(ended: Sequence[EndedJob]) -> float:
    """Return the mean time from a job's end to the start of the machine's next, for machines with room for one job."""
    gaps = []
    for node, times in _times_by_node(ended).items():
        seconds = [job.seconds for job in ended if job.node == node][1:]
        gaps.append((times[-1] - times[0] - sum(seconds)) / len(seconds))
    return mean(gaps)


def _times_by_node(ended: Sequence[EndedJob]) -> dict[str, list[float]]:
    return {node: [job.at for job in ended if job.node == node] for node in sorted({job.node for job in ended})}
