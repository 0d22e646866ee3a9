"""The arguments that say on which Ray cluster jobs run, and what each takes there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from client.errors import UsageError
from client.running.ray_cluster import AUTO
from client.running.ray_place import CPUS_PER_JOB, JobNeeds, RayPlace

MAX_CPUS, MAX_GPUS = 1024.0, 16.0


def add_ray_arguments(parser: argparse.ArgumentParser, lasts: str) -> argparse._ArgumentGroup:
    """Declare the arguments that `ray_place` reads; returns the group of those that need a cluster.

    Args:
        parser: the command's.
        lasts: as long as what a cluster lasts that is started for the jobs, such as "this batch".
    """
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help=f"run the jobs on the machines of a Ray cluster, HOST:PORT of its head; {AUTO}: the one that this machine"
        f" belongs to, or one that is started on it for {lasts}",
    )
    group = parser.add_argument_group("with --ray only")
    group.add_argument(
        "--ray-cpus",
        type=READERS["ray_cpus"],
        metavar="N",
        help=f"cores that each job takes on its machine (default: {CPUS_PER_JOB:g})",
    )
    group.add_argument(
        "--ray-gpus",
        type=READERS["ray_gpus"],
        metavar="SHARE",
        help="share of a GPU that each job takes, such as 0.25; jobs of one GPU call one server, which runs on it"
        " (default: none; the machines' servers run on the CPU)",
    )
    return group


def ray_place(namespace: argparse.Namespace, further: tuple[str, ...] = ()) -> RayPlace | None:
    """Return where jobs run and what each takes; None if they run on this machine.

    Args:
        namespace: the command line.
        further: more arguments that need a cluster.

    Raises:
        UsageError: such arguments are given without a cluster.
    """
    if namespace.ray is not None:
        return RayPlace(namespace.ray, JobNeeds(namespace.ray_cpus or CPUS_PER_JOB, namespace.ray_gpus or 0.0))
    for name in ("ray_cpus", "ray_gpus", *further):
        if getattr(namespace, name) is not None:
            raise UsageError(option=name, expected="no value without a cluster", got="one", advice="Add --ray")
    return None


def with_variables(
    namespace: argparse.Namespace, variables: Mapping[str, str], environment: Mapping[str, str]
) -> argparse.Namespace:
    """Return the command line with what the environment says where it says nothing itself.

    Args:
        namespace: the command line.
        variables: argument -> environment variable.
        environment: the variables.

    Raises:
        UsageError: a variable cannot be read.
    """
    chosen = dict(vars(namespace))
    for name, variable in variables.items():
        text = environment.get(variable)
        if chosen[name] is None and text:
            try:
                chosen[name] = READERS[name](text)
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"${variable}: {error}") from None
    return argparse.Namespace(**chosen)


def share(limit: float) -> Callable[[str], float]:
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


READERS: Mapping[str, Callable[[str], Any]] = {
    "ray": str,
    "ray_cpus": share(MAX_CPUS),
    "ray_gpus": share(MAX_GPUS),
}
