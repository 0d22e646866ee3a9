"""Runs jobs in processes of this machine, several at once."""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from client.errors import LipSyncError
from client.job_process import JobResult
from client.running.process import JobProcess
from client.running.request import ProcessRequest
from client.running.runner import ENDED_EARLY, EndedJob, next_ended

logger = logging.getLogger(__name__)


class LocalRunner:
    """Runs each job in a process of its own; see JobRunner."""

    def __init__(self, at_once: int, *, end_with_parent: bool = False) -> None:
        """Prepare to run so many jobs at once.

        Args:
            at_once: how many; 0 for none.
            end_with_parent: whether jobs end when this process is gone, also by kill -9. Linux only.
        """
        self.in_flight_limit = at_once
        self._end_with_parent = end_with_parent
        self._threads = ThreadPoolExecutor(max(1, at_once), thread_name_prefix="job")
        self._ended: queue.SimpleQueue[EndedJob] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._running: dict[str, JobProcess] = {}
        self._cancelled: set[str] = set()
        self._is_closed = False

    def submit(self, request: ProcessRequest) -> None:
        """Take a job; see JobRunner."""
        with self._lock:
            self._taken.add(request.job_id)
        self._threads.submit(self._run, request)

    def wait(self, timeout_s: float | None = None) -> EndedJob | None:
        """Wait for the next job that ends; see JobRunner."""
        return next_ended(self._ended, timeout_s)

    def cancel(self, job_id: str) -> None:
        """End a job early; see JobRunner."""
        with self._lock:
            if job_id in self._taken:
                self._cancelled.add(job_id)
            process = self._running.get(job_id)
        if process is not None:
            process.terminate()

    def close(self) -> None:
        """End all jobs and wait for them; see JobRunner."""
        with self._lock:
            self._is_closed = True
            running = list(self._running.values())
        for process in running:
            process.terminate()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, request: ProcessRequest) -> None:
        started = time.monotonic()
        result = self._result(request)
        self._ended.put(EndedJob(request.job_id, result, time.monotonic() - started))

    def _result(self, request: ProcessRequest) -> JobResult:
        job_id = request.job_id
        try:
            with self._lock:
                if self._is_closed or job_id in self._cancelled:
                    return JobResult(1, error=LipSyncError(ENDED_EARLY))
                process = self._running[job_id] = JobProcess(request, ends_with_parent=self._end_with_parent)
            return process.result()
        except OSError as error:
            return JobResult(1, error=LipSyncError(f"the job cannot be started: {error.strerror}"))
        except Exception as error:  # the batch waits for an answer in any case
            logger.exception("job %s", job_id)
            return JobResult(1, error=LipSyncError(f"the job ended unexpectedly: {type(error).__name__}"))
        finally:
            with self._lock:
                self._running.pop(job_id, None)
                self._taken.discard(job_id)
                self._cancelled.discard(job_id)
