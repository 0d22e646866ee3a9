"""Runs jobs in processes of this machine, several at once."""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from client.errors import LipSyncError
from client.job_process import JobRequest, JobResult
from client.running.process import JobProcess
from client.running.runner import ENDED_EARLY, EndedJob

logger = logging.getLogger(__name__)


class LocalRunner:
    """Runs each job in a process of its own; see JobRunner."""

    def __init__(self, at_once: int) -> None:
        """Prepare to run so many jobs at once."""
        self.in_flight_limit = at_once
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="job")
        self._ended: queue.SimpleQueue[EndedJob] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: dict[str, JobProcess] = {}
        self._cancelled: set[str] = set()
        self._is_closed = False

    def submit(self, request: JobRequest) -> None:
        """Take a job; see JobRunner."""
        self._threads.submit(self._run, request)

    def wait(self) -> EndedJob:
        """Wait for the next job that ends; see JobRunner."""
        return self._ended.get()

    def cancel(self, job_id: str) -> None:
        """End a job early; see JobRunner."""
        with self._lock:
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

    def _run(self, request: JobRequest) -> None:
        started = time.monotonic()
        result = self._result(request)
        self._ended.put(EndedJob(request.job.job_id, result, time.monotonic() - started))

    def _result(self, request: JobRequest) -> JobResult:
        job_id = request.job.job_id
        try:
            with self._lock:
                if self._is_closed or job_id in self._cancelled:
                    self._cancelled.discard(job_id)
                    return JobResult(1, error=LipSyncError(ENDED_EARLY))
                process = self._running[job_id] = JobProcess(request)
            return process.result()
        except OSError as error:
            return JobResult(1, error=LipSyncError(f"the job cannot be started: {error.strerror}"))
        except Exception as error:  # the batch waits for an answer in any case
            logger.exception("job %s", job_id)
            return JobResult(1, error=LipSyncError(f"the job ended unexpectedly: {type(error).__name__}"))
        finally:
            with self._lock:
                self._running.pop(job_id, None)
                self._cancelled.discard(job_id)
