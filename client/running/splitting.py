"""Runs long jobs in parts, on as many machines as have room. Knows nothing of where; another runner does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from client.errors import LipSyncError
from client.job_options import JobOptions
from client.job_process import JobRequest
from client.media import VideoSource
from client.options import END, RESUME, START
from client.resume.job_part import JobPart
from client.running.request import ProcessRequest
from client.running.runner import EndedJob, JobRunner

MAX_PARTS = 1000


@dataclass(eq=False)
class _LongJob:
    """A job on its way: first what all parts need, then the parts, then the whole.

    Attributes:
        request: the job.
        steps: what is to be done after each other: requests that may run at once.
        running: ids of those that run.
        seconds: how long the steps so far took.
        step_seconds: how long this one took, which is as long as its longest request so far.
        has_failed: whether one of its requests has, so that no more parts are tried.
        is_cancelled: whether it is ended early.
    """

    request: JobRequest
    steps: Iterator[list[JobRequest]]
    running: set[str] = field(default_factory=set)
    seconds: float = 0.0
    step_seconds: float = 0.0
    has_failed: bool = False
    is_cancelled: bool = False


class SplittingRunner:
    """Runs jobs with long videos in parts, and all others as they are, also those with URLs; see JobRunner.

    The parts of a job leave their answers in its work folder, and its last task finds them there: it alone decodes and
    encodes, so that the output is that of one machine. A part that fails is done by the last task.
    """

    def __init__(self, runner: JobRunner, part_s: float) -> None:
        """Prepare to run jobs.

        Args:
            runner: runs the parts and the other jobs.
            part_s: length of a part, in seconds of video; shorter videos are not split.
        """
        self._runner, self._part_s = runner, part_s
        self._long: dict[str, _LongJob] = {}  # by the ids of their running requests

    @property
    def in_flight_limit(self) -> int:
        """How many jobs are submitted at once; see JobRunner."""
        return self._runner.in_flight_limit

    def submit(self, request: ProcessRequest) -> None:
        """Take a job; see JobRunner."""
        if not isinstance(request, JobRequest):
            self._runner.submit(request)
            return
        count = min(MAX_PARTS, math.ceil(video_length_s(request.job) / self._part_s))
        if count < 2 or request.urls or request.job.values[RESUME] is False:
            self._runner.submit(request)
            return
        self._next_step(_LongJob(request, _steps(request, count)))

    def wait(self, timeout_s: float | None = None) -> EndedJob | None:
        """Wait for the next job that ends; see JobRunner."""
        while True:
            ended = self._runner.wait(timeout_s)
            if ended is None:
                return None
            job = self._long.pop(ended.job_id, None)
            if job is None:
                return ended
            whole = self._step_ended(job, ended)
            if whole is not None:
                return whole

    def cancel(self, job_id: str) -> None:
        """End a job early; see JobRunner."""
        for running, job in list(self._long.items()):
            if job.request.job.job_id == job_id:
                job.is_cancelled = True
                self._runner.cancel(running)
        self._runner.cancel(job_id)

    def close(self) -> None:
        """End all jobs; see JobRunner."""
        self._runner.close()

    def _next_step(self, job: _LongJob) -> None:
        for request in next(job.steps):
            job.running.add(request.job.job_id)
            self._long[request.job.job_id] = job
            self._runner.submit(request)

    def _step_ended(self, job: _LongJob, ended: EndedJob) -> EndedJob | None:
        """Note that a request of a job has ended; return the job's own end if it was the last one."""
        job.running.discard(ended.job_id)
        job.has_failed |= ended.result.exit_code != 0
        job.step_seconds = max(job.step_seconds, ended.seconds)
        if job.running:
            return None
        job.seconds, job.step_seconds = job.seconds + job.step_seconds, 0.0
        is_whole = ended.job_id == job.request.job.job_id
        if is_whole or job.is_cancelled:
            return replace(ended, job_id=job.request.job.job_id, seconds=job.seconds)
        if job.has_failed:
            job.steps = iter([[job.request]])
        self._next_step(job)
        return None


def video_length_s(job: JobOptions) -> float:
    """Return the length of a job's video, in seconds; 0 if it cannot be read, which the job itself will tell."""
    with suppress(LipSyncError):
        return VideoSource(job.video, job.values[START], job.values[END]).duration or 0.0
    return 0.0


def _steps(request: JobRequest, count: int) -> Iterator[list[JobRequest]]:
    yield [_part(request, JobPart(None, count))]
    yield [_part(request, JobPart(index, count)) for index in range(count)]
    yield [request]


def _part(request: JobRequest, part: JobPart) -> JobRequest:
    name = "plan" if part.index is None else str(part.index)
    return replace(request, job=replace(request.job, job_id=f"{request.job.job_id}-{name}"), part=part)
