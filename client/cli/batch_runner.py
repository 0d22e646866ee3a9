"""The arguments of `lipsync batch` that say where its jobs run."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import closing, contextmanager

from client.cli.ray_arguments import add_ray_arguments, ray_place, share
from client.running.local import LocalRunner
from client.running.ray_cluster import joined_cluster
from client.running.runner import JobRunner
from client.running.splitting import SplittingRunner
from client.servers.access import ServerAccess

MAX_JOBS_AT_ONCE = 1000
MAX_PART_S = 86_400.0


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `open_runner` reads."""
    parser.add_argument(
        "--jobs",
        type=_count,
        metavar="N",
        help="jobs run at once (default: one per server; with --ray as many as have room)",
    )
    add_ray_arguments(parser, "this batch").add_argument(
        "--split-over",
        type=share(MAX_PART_S),
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
    place = ray_place(namespace, ("split_over",))
    if place is None:
        with closing(LocalRunner(namespace.jobs or _server_count(access))) as runner:
            yield runner
        return
    with joined_cluster(place.address) as cluster:
        from client.running.ray_runner import RayRunner  # noqa: PLC0415  (an extra, imported once joined)

        repository = None if access.urls else namespace.model_repository
        with closing(RayRunner(cluster, place.needs, repository, namespace.jobs)) as on_ray:
            yield on_ray if namespace.split_over is None else SplittingRunner(on_ray, namespace.split_over)


def _server_count(access: ServerAccess) -> int:
    """Return how many servers share the jobs."""
    return max(1, len(access.servers.find())) if access.servers else 1


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_JOBS_AT_ONCE:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_JOBS_AT_ONCE} jobs, got {text!r}")
    return int(text)
