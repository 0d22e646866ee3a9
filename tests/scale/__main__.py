"""How far a batch scales over a Ray cluster: python -m tests.scale, or make scale.

Starts a cluster on this machine, each of whose nodes is a `ray start` of its own, and measures the real command on it:
throughput of one to three nodes with jobs that wait as for a GPU, the overhead of a job, a long queue, and a batch
whose nodes are killed and frozen. Prints a line of JSON for each as it comes. Exits with 1 where an output is missing
or differs from that of a local run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from perf.arguments import whole_number
from tests.ray_cluster import RayTestCluster
from tests.scale.measures import accidents, overhead, queue, throughput

NODES = ("second", "third")  # beside the head
PARTS = ("throughput", "overhead", "queue", "accidents")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chosen parts; returns the exit code."""
    options = build_parser().parse_args(argv)
    wrong: list[str] = []

    def show(row: object) -> None:
        line = json.dumps({"what": type(row).__name__.lower(), **asdict(row), "load": round(os.getloadavg()[0], 1)})
        print(line, flush=True)
        if options.json is not None:
            with options.json.open("a") as file:
                file.write(f"{line}\n")

    with RayTestCluster() as cluster:
        if "overhead" in options.only:
            show(overhead(cluster, options.null_jobs))
        if "queue" in options.only:
            show(queue(cluster, options.queued))
        for nodes, name in enumerate(("", *NODES), 1):
            if name:
                cluster.start(name, cpus=1)
            if "throughput" in options.only:
                show(throughput(cluster, nodes, options.rounds, options.wait_s))
        if "accidents" in options.only:
            happened = accidents(cluster, NODES, options.jobs, options.short_wait_s)
            show(happened)
            wrong = happened.wrong
    return int(bool(wrong))


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what is measured (all)")
    parser.add_argument("--jobs", type=whole_number, default=200, metavar="N", help="with accidents (%(default)s)")
    parser.add_argument("--short-wait-s", type=float, default=1.0, metavar="S", help="of each (%(default)s)")
    parser.add_argument("--rounds", type=whole_number, default=8, metavar="N", help="jobs per node (%(default)s)")
    parser.add_argument("--wait-s", type=float, default=10.0, metavar="S", help="of each (%(default)s)")
    parser.add_argument("--null-jobs", type=whole_number, default=500, metavar="N", help="one by one (%(default)s)")
    parser.add_argument("--queued", type=whole_number, default=100_000, metavar="N", help="in a file (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the lines there too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
