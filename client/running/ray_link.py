"""Runs jobs on a Ray cluster for a program that outlives the cluster: through a process that is started again."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from client.errors import LipSyncError, ServerUnavailable, error_from_dict
from client.job_process import JobResult
from client.process import END_WITH_PARENT
from client.running.process import HOME
from client.running.ray_place import RayPlace
from client.running.request import ProcessRequest, SentRequest
from client.running.runner import EndedJob, next_ended

COMMAND = (sys.executable, "-m", "client.running.ray_link_process")
JOIN_AGAIN_S = 5.0
CLOSE_S = 60.0  # the process ends all jobs and servers first
LOST = "the connection to the cluster was lost"


class RayLink:
    """Runs each job on some machine of a cluster, once; see JobRunner.

    When the head of the cluster is gone, all jobs are returned as lost, and the cluster is joined again as soon as
    there is one at its address.
    """

    def __init__(
        self, place: RayPlace, repository: Path | None, at_once: int, command: Sequence[str] = COMMAND
    ) -> None:
        """Join the cluster.

        Args:
            place: which, and what each job takes there.
            repository: models of the servers that are started on each machine; None if jobs name servers.
            at_once: the most jobs at once.
            command: runs the process that joins.

        Raises:
            UsageError: Ray is not installed, or the cluster cannot be used so.
            ServerUnavailable: it does not answer.
        """
        self._order = json.dumps(
            {
                "address": place.address,
                "cpus": place.needs.cpus,
                "gpus": place.needs.gpus,
                "repository": None if repository is None else str(repository.absolute()),
                "at_once": at_once,
            }
        )
        self._command = [*command, END_WITH_PARENT, str(os.getpid())]
        self._lock = threading.Lock()
        self._ended: queue.SimpleQueue[EndedJob] = queue.SimpleQueue()
        self._in_flight: set[str] = set()
        self._is_closing = threading.Event()
        self.in_flight_limit = 1
        self.trouble: str | None = "the cluster is being joined"
        self._first: Future[None] = Future()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep, name="Ray", daemon=True)  # the processes end with it
        self._thread.start()
        try:
            self._first.result()
        except BaseException:
            self.close()
            raise

    def submit(self, request: ProcessRequest) -> None:
        """Take a job; see JobRunner."""
        with self._lock:
            self._in_flight.add(request.job_id)
            if self._process is None:
                self._lose_all()
            else:
                self._send(submit=SentRequest.of(request).as_line())

    def wait(self, timeout_s: float | None = None) -> EndedJob | None:
        """Wait for the next job that ends; see JobRunner."""
        return next_ended(self._ended, timeout_s)

    def cancel(self, job_id: str) -> None:
        """End a job early; see JobRunner."""
        with self._lock:
            if self._process is not None and job_id in self._in_flight:
                self._send(cancel=job_id)

    def close(self) -> None:
        """End all jobs and leave the cluster; see JobRunner."""
        with self._lock:
            self._is_closing.set()
            process = self._process
            if process is not None:
                assert process.stdin is not None
                with suppress(OSError):
                    process.stdin.close()
        self._thread.join(CLOSE_S)
        if process is not None and self._thread.is_alive():
            process.kill()
        self._thread.join()

    def _keep(self) -> None:
        """Join the cluster, and again whenever it was lost."""
        while not self._is_closing.is_set():
            try:
                error = self._follow()
            except OSError as refused:
                error = LipSyncError(f"ray: no process can be started: {refused.strerror}")
            if self._first.done():
                error.advice = ""  # is for whoever starts a command
            with self._lock:
                self._process, self.in_flight_limit, self.trouble = None, 1, str(error)
                self._lose_all()
            if not self._first.done():
                self._first.set_exception(error)
            self._is_closing.wait(JOIN_AGAIN_S)

    def _follow(self) -> LipSyncError:
        """Start a process, and hear it until it ends; returns why it did.

        Raises:
            OSError: none can be started.
        """
        error: LipSyncError | None = None
        with subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", cwd=HOME
        ) as process:
            with self._lock:
                self._process = process
                self._write(self._order)
                if self._is_closing.is_set():
                    process.kill()
            assert process.stdout is not None
            for line in process.stdout:
                error = self._hear(json.loads(line)) or error
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()  # there may be an order that it has not read
        return error or ServerUnavailable(f"ray: {LOST}, as its process here ended with {process.returncode}")

    def _hear(self, answer: dict[str, Any]) -> LipSyncError | None:
        """Note what the process says; returns its last answer, the reason of its end."""
        if "error" in answer:
            return error_from_dict(answer["error"])
        with self._lock:
            if "room" in answer:
                self.in_flight_limit, self.trouble = answer["room"], None
            else:
                ended = EndedJob.from_dict(answer["ended"])
                self._in_flight.discard(ended.job_id)
                self._ended.put(ended)
        if not self._first.done():
            self._first.set_result(None)
        return None

    def _lose_all(self) -> None:
        for job_id in self._in_flight:
            lost = JobResult(ServerUnavailable.exit_code, error=ServerUnavailable(LOST))
            self._ended.put(EndedJob(job_id, lost, 0.0, is_lost=True))
        self._in_flight.clear()

    def _send(self, **order: str) -> None:
        self._write(json.dumps(order))

    def _write(self, line: str) -> None:
        """Write to the process; of one that has ended, its end tells all."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
