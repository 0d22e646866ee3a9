"""One interface for running jobs somewhere. Knows nothing of where, nor of what the jobs are for."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from client.job_process import JobRequest, JobResult
from client.running.request import ProcessRequest

Item = TypeVar("Item")
ENDED_EARLY = "the job was ended"


@dataclass(frozen=True)
class EndedJob:
    """A job that a runner has ended with.

    Attributes:
        job_id: the job, as its request names it.
        result: its report or its error.
        seconds: how long it ran, the last time if it was tried again; the wait for a place is not included.
        node: the machine that ran it; empty for this one.
        tries: how often it was started.
        is_lost: whether it did not end by itself, as its machine or process was lost, so that another try may help.
    """

    job_id: str
    result: JobResult
    seconds: float
    node: str = ""
    tries: int = 1
    is_lost: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return all fields as JSON for `from_dict`."""
        return {**vars(self), "result": self.result.as_json()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> EndedJob:
        """Rebuild what `as_dict` wrote."""
        return cls(**{**fields, "result": JobResult.from_json(fields["result"])})


def next_ended(ended: queue.SimpleQueue[EndedJob], timeout_s: float | None) -> EndedJob | None:
    """Take the next job that ended; None after `timeout_s` seconds without one."""
    with suppress(queue.Empty):
        return ended.get(timeout=timeout_s)
    return None


class JobRunner(Protocol):
    """Runs jobs, each apart from the others, so that none can harm another.

    One thread waits; any may submit and cancel.
    """

    @property
    def in_flight_limit(self) -> int:
        """How many jobs are submitted at once; it may change while machines come and go."""

    def submit(self, request: ProcessRequest) -> None:
        """Take a job; it begins as soon as there is a place."""

    def wait(self, timeout_s: float | None = None) -> EndedJob | None:
        """Wait until any of the submitted jobs has ended, and return it; each is returned once.

        Args:
            timeout_s: how long to wait, in seconds; None is returned then. Without it there is always a job.

        Raises:
            LipSyncError: no job can be run any more.
        """

    def cancel(self, job_id: str) -> None:
        """End a job early; `wait` returns it as failed. One that has ended already is left alone."""

    def close(self) -> None:
        """End all jobs that are under way and free everything; what they have finished is kept for the next run."""


def run_all(runner: JobRunner, jobs: Iterable[tuple[Item, JobRequest | JobResult]]) -> Iterator[tuple[Item, EndedJob]]:
    """Run jobs, at most as many in flight as the runner takes; yield each as it ends.

    Args:
        runner: runs them.
        jobs: each with what is yielded beside its end; a job that has its result already is passed on. They are taken
            when there is room for them, so that any number may follow.
    """
    waiting = iter(jobs)
    in_flight: dict[str, Item] = {}
    has_more = True
    while has_more or in_flight:
        if has_more and len(in_flight) < runner.in_flight_limit:
            item, job = next(waiting, (None, None))
            if job is None:
                has_more = False
            elif isinstance(job, JobResult):
                yield cast(Item, item), EndedJob("", job, 0.0)
            else:
                in_flight[job.job_id] = cast(Item, item)
                runner.submit(job)
            continue
        ended = runner.wait()
        assert ended is not None
        yield in_flight.pop(ended.job_id), ended
