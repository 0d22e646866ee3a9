"""Runs jobs on a Ray cluster for another process: `python -m client.running.ray_link_process` talks with a RayLink.

It is a process of its own because Ray ends one that has lost its cluster, without a word. Orders come on stdin, answers
go to stdout, a JSON object a line each; the first order names the cluster.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from client.errors import LipSyncError
from client.process import end_on_signals, end_with_named_parent
from client.running.ray_cluster import joined_cluster
from client.running.ray_place import JobNeeds
from client.running.request import SentRequest
from client.running.runner import JobRunner

WAIT_S = 0.25
STDOUT, STDERR = 1, 2  # file descriptors


def main() -> int:
    """Serve until stdin is closed or the cluster is lost; returns the exit code."""
    end_on_signals()
    end_with_named_parent(sys.argv)
    with _answers() as answers:
        try:
            _join_and_serve(answers)
        except LipSyncError as error:
            _say(answers, error=error.as_dict())
            return error.exit_code
    return 0


def _answers() -> IO[str]:
    """Return what writes to stdout, which all others find turned to stderr: nothing of Ray's gets between."""
    answers = os.fdopen(os.dup(STDOUT), "w", encoding="utf-8")
    os.dup2(STDERR, STDOUT)
    return answers


def _join_and_serve(answers: IO[str]) -> None:
    order = json.loads(sys.stdin.readline())
    with joined_cluster(order["address"]) as cluster:
        from client.running.ray_runner import RayRunner  # noqa: PLC0415  (an extra, imported once joined)

        needs = JobNeeds(order["cpus"], order["gpus"])
        repository = None if order["repository"] is None else Path(order["repository"])
        with closing(RayRunner(cluster, needs, repository, order["at_once"], tries_again=False)) as runner:
            serve(runner, sys.stdin, answers)


def serve(runner: JobRunner, orders: IO[str], answers: IO[str]) -> None:
    """Run the jobs that orders name, and tell of their ends and of how many have room, until the orders end.

    Raises:
        LipSyncError: no job can be run any more.
    """
    thread = threading.Thread(target=_take_orders, args=(runner, orders), name="orders", daemon=True)
    thread.start()
    room = 0
    while thread.is_alive():
        if room != runner.in_flight_limit:
            room = runner.in_flight_limit
            _say(answers, room=room)
        ended = runner.wait(WAIT_S)
        if ended is not None:
            _say(answers, ended=ended.as_dict())


def _take_orders(runner: JobRunner, orders: IO[str]) -> None:
    for line in orders:
        order = json.loads(line)
        if "cancel" in order:
            runner.cancel(order["cancel"])
        else:
            runner.submit(SentRequest.from_line(order["submit"]))


def _say(answers: IO[str], **answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
