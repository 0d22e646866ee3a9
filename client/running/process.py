"""A job in a process of its own, which nothing that it does can harm."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from client.errors import LipSyncError
from client.job_process import JobResult
from client.process import END_WITH_PARENT
from client.running.request import ProcessRequest

HOME = Path(__file__).resolve().parents[2]  # where `client` is found
LOOK_EVERY_S = 0.5  # a signal that Python only notes is noticed then
KILL_AFTER_S = 20.0  # a job that was asked to end has closed its files and its server by then


class JobProcess:
    """A job that runs in a process."""

    def __init__(self, request: ProcessRequest, *, ends_with_parent: bool = False) -> None:
        """Start it.

        Args:
            request: the job.
            ends_with_parent: whether it ends when the thread that starts it is gone, also by kill -9. Linux only.

        Raises:
            OSError: no process can be started.
        """
        self._request = request
        self._kill_at: float | None = None
        self._process = subprocess.Popen(
            [*request.command, *([END_WITH_PARENT, str(os.getpid())] if ends_with_parent else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if request.shows_log else subprocess.PIPE,
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
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                self._process.kill()

    def terminate(self) -> None:
        """Ask it to end; what it has finished is kept for the next run.

        While its result is awaited, it is killed if it takes longer than KILL_AFTER_S.
        """
        self._kill_at = self._kill_at or time.monotonic() + KILL_AFTER_S
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
