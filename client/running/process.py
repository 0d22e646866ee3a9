"""A job in a process of its own, which nothing that it does can harm."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from client.errors import LipSyncError
from client.job_process import END_WITH_PARENT, JobRequest, JobResult

HOME = Path(__file__).resolve().parents[2]  # where `client` is found
JOB_COMMAND = (sys.executable, "-m", "client.job_process")
LOOK_EVERY_S = 0.5  # a signal that Python only notes is noticed then
KILL_AFTER_S = 10.0  # a job that was asked to end has closed its files and its server by then


class JobProcess:
    """A job that runs in a process."""

    def __init__(
        self, request: JobRequest, *, command: tuple[str, ...] = JOB_COMMAND, ends_with_parent: bool = False
    ) -> None:
        """Start it.

        Args:
            request: the job.
            command: reads the request from stdin and writes the result to stdout, see `client.job_process`.
            ends_with_parent: whether it ends when the thread that starts it is gone, also by kill -9. Linux only.

        Raises:
            OSError: no process can be started.
        """
        self._request = request
        self._process = subprocess.Popen(
            [*command, *([END_WITH_PARENT, str(os.getpid())] if ends_with_parent else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if request.log_json else subprocess.PIPE,
            encoding="utf-8",
            errors="replace",  # of what a killed process has left
            cwd=HOME,
        )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def result(self) -> JobResult:
        """Wait for its end; a process that was killed has no answer, but may have left words on stderr."""
        output, errors = self._communicate()
        code = self._process.returncode
        with suppress(ValueError, KeyError):
            return JobResult.from_json(output)
        last = ((errors or "").strip().splitlines() or [f"its process ended with {code} without a result"])[-1]
        return JobResult(code or 1, error=LipSyncError(last))

    def _communicate(self) -> tuple[str, str | None]:
        """Send the request, and read what the process writes until it ends."""
        request: str | None = self._request.as_json()
        while True:
            try:
                return self._process.communicate(request, timeout=LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                request = None  # it is on its way

    def terminate(self) -> None:
        """Ask it to end; what it has finished is kept for the next run."""
        self._process.terminate()

    def end(self) -> None:
        """End it now, and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
