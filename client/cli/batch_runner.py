"""The arguments of `lipsync batch` that say where its jobs run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

from client.errors import UsageError
from client.running.local import LocalRunner
from client.running.ray_cluster import AUTO, joined_cluster
from client.running.runner import JobRunner
from client.running.splitting import SplittingRunner
from client.servers.access import ServerAccess

MAX_JOBS_AT_ONCE = 1000
MAX_CPUS, MAX_GPUS = 1024.0, 16.0
MAX_PART_S = 86_400.0
CPUS_PER_JOB = 2.0


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `open_runner` reads."""
    parser.add_argument(
        "--jobs",
        type=_count,
        metavar="N",
        help="jobs run at once (default: one per server; with --ray as many as have room)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help=f"run the jobs on the machines of a Ray cluster, HOST:PORT of its head; {AUTO}: the one that this machine"
        " belongs to, or one that is started on it for this batch",
    )
    group = parser.add_argument_group("with --ray only")
    group.add_argument(
        "--ray-cpus",
        type=_share(MAX_CPUS),
        metavar="N",
        help=f"cores that each job takes on its machine (default: {CPUS_PER_JOB:g})",
    )
    group.add_argument(
        "--ray-gpus",
        type=_share(MAX_GPUS),
        metavar="SHARE",
        help="share of a GPU that each job takes, such as 0.25; jobs of one GPU call one server, which runs on it"
        " (default: none; the machines' servers run on the CPU)",
    )
    group.add_argument(
        "--split-over",
        type=_share(MAX_PART_S),
        metavar="SECONDS",
        help="run jobs of longer videos in parts of this length, on as many machines as have room; the output is the"
        " same. Each part decodes the video from its start (default: no job is split)",
    )


@contextmanager
def open_runner(namespace: argparse.Namespace, access: ServerAccess) -> Generator[JobRunner, None, None]:
    """Give what runs the jobs; all of them have ended when it is closed.

    Raises:
        UsageError: the cluster cannot be used so, or Ray's arguments are given without --ray.
        ServerUnavailable: the cluster does not answer.
    """
    if namespace.ray is None:
        for name in ("ray_cpus", "ray_gpus", "split_over"):
            if getattr(namespace, name) is not None:
                raise UsageError(option=name, expected="no value without a cluster", got="one", advice="Add --ray")
        with closing(LocalRunner(namespace.jobs or _server_count(access))) as runner:
            yield runner
        return
    with joined_cluster(namespace.ray) as cluster:
        from client.running.ray_runner import JobNeeds, RayRunner  # noqa: PLC0415  (an extra, imported once joined)

        needs = JobNeeds(namespace.ray_cpus or CPUS_PER_JOB, namespace.ray_gpus or 0.0)
        repository = None if access.urls else namespace.model_repository
        with closing(RayRunner(cluster, needs, repository, namespace.jobs)) as on_ray:
            yield on_ray if namespace.split_over is None else SplittingRunner(on_ray, namespace.split_over)


def _server_count(access: ServerAccess) -> int:
    """Return how many servers share the jobs."""
    return max(1, len(access.servers.find())) if access.servers else 1


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_JOBS_AT_ONCE:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_JOBS_AT_ONCE} jobs, got {text!r}")
    return int(text)


def _share(limit: float) -> Callable[[str], float]:
    """Return a reader of positive numbers up to a limit."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value <= limit:
            raise argparse.ArgumentTypeError(f"expected a number above 0, at most {limit:g}, got {text!r}")
        return value

    return read
