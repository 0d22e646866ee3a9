"""Claims jobs and runs each in a process of its own; keeps the claims alive, and looks after lost jobs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from sqlalchemy.exc import OperationalError

from client.errors import LipSyncError, ServerUnavailable
from client.offer import models_on_server
from client.servers.access import ServerAccess
from client.web.child import EXIT_RETRY
from client.web.failures import servers_failure
from client.web.job_media import JobMedia
from client.web.job_process import WebJobRequest
from client.web.job_record import ENDED, JobRecord
from client.web.job_turns import RENEW_EVERY_S
from client.web.recovery import MAX_ATTEMPTS, SWEEP_EVERY_S, recover, sweep
from client.web.settings import Settings
from client.web.store import JobStore

JOB_COMMAND = (sys.executable, "-m", "client.web.job_process")
POLL_EVERY_S = 1.0  # how often an idle worker looks for jobs of other processes; those of its own wake it at once
WATCH_EVERY_S = 0.25  # how soon a cancellation reaches the process
END_GRACE_S = 20.0  # time for a process to cancel its requests and exit
LOOK_AFTER_EVERY_S = 2.0
RETRY_DELAY_S = 2.0
READY_EVERY_S = 1.0  # between two questions to servers that are not ready
AFTER_TROUBLE_S = 2.0  # such as a database that does not answer
AFTER_OUTAGE_S = 2 * RENEW_EVERY_S  # after the database was away, other processes renew their claims first
logger = logging.getLogger("client.web")


def trouble_with_servers(access: ServerAccess) -> str | None:
    """Return why none of the servers is ready; None if one is."""
    try:
        models_on_server(access)
    except LipSyncError as error:
        return str(error)
    return None


class Workers:
    """Threads that run jobs until the context is left, and two that keep claims and recover jobs."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        media: JobMedia,
        access: ServerAccess,
        trouble: Callable[[ServerAccess], str | None] = trouble_with_servers,
    ) -> None:
        """Prepare the threads; nothing runs before the context is entered.

        Args:
            settings: limits and folders.
            store: the jobs' records.
            media: the jobs' files.
            access: the servers.
            trouble: says why no server is ready; None if one is. No job starts before.
        """
        self._settings = settings
        self._store = store
        self._media = media
        self._access = access
        self._trouble = trouble
        self._is_closing = threading.Event()  # no further job is claimed
        self._stop = threading.Event()  # those that run are ended
        self._held: set[str] = set()
        self._running = [
            threading.Thread(target=self._take_turns, name=f"worker {number}", daemon=True)
            for number in range(settings.workers)
        ]
        self._others = [
            threading.Thread(target=self._repeat, args=arguments, name=arguments[0].__name__, daemon=True)
            for arguments in ((self._look_after, LOOK_AFTER_EVERY_S), (self._renew, RENEW_EVERY_S))
        ]
        self._sweep_at = self._recover_at = 0.0

    def __enter__(self) -> Workers:
        """Start, and recover the jobs of a service that died."""
        for thread in (*self._others, *self._running):
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let running jobs end for a while, then end their processes; what has not ended is queued again."""
        self._is_closing.set()
        try:
            self._join(self._settings.drain_s)
        finally:  # also after a second signal
            self._stop.set()
        self._join()
        for thread in self._others:
            thread.join()
        with suppress(OperationalError):
            self._store.leave_duties()

    def _join(self, timeout_s: float | None = None) -> None:
        """Wait until no job runs, or for some time."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._running:
            self._store.tell_of_jobs()
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def _take_turns(self) -> None:
        """Run jobs one after the other, each time the one whose turn it is."""
        while not self._is_closing.is_set():
            try:
                if not (self._store.has_waiting() and self._wait_for_server() and self._run_next()):
                    self._store.wait_for_jobs(POLL_EVERY_S)
            except Exception:
                logger.exception("running jobs")
                self._is_closing.wait(AFTER_TROUBLE_S)

    def _run_next(self) -> bool:
        """Run one job to its end; False if none waits."""
        record = None if self._is_closing.is_set() else self._store.claim_next()
        if record is None:
            return False
        self._held.add(record.id)
        try:
            self._run_job(record)
        finally:
            self._held.discard(record.id)
        return True

    def _run_job(self, record: JobRecord) -> None:
        if record.deleted:
            self._store.cancel(record.id)
            self._store.end_cancelled(record.id, self._store.owner)
            return
        code = self._run_process(record)
        if code == EXIT_RETRY:
            self._stop.wait(RETRY_DELAY_S)  # the job stays claimed meanwhile
        while not self._is_settled(record, code) and not self._stop.wait(AFTER_TROUBLE_S):
            pass

    def _is_settled(self, record: JobRecord, code: int) -> bool:
        """Update the record and remove what is not needed any more; False if the database does not answer."""
        try:
            if self._store.is_mine(record.id):
                self._note_end(record, code)
            self._tidy(record.id)
        except OperationalError as error:
            logger.warning("the end of job %s waits for the database: %s", record.id, type(error.orig).__name__)
            return False
        return True

    def _tidy(self, job_id: str) -> None:
        if self._store.state_of(job_id) in ENDED:
            self._media.drop_unfinished(job_id)
            self._media.drop_copies(job_id)

    def _wait_for_server(self) -> bool:
        """Wait until a server is ready: the queue pauses, and jobs keep their attempts. False if the service ends."""
        is_told = False
        while not self._is_closing.is_set():
            trouble = self._trouble(self._access)
            if trouble is None:
                return True
            if not is_told:
                logger.warning("jobs wait until a lip-sync server is ready: %s", trouble)
            is_told = True
            self._is_closing.wait(READY_EVERY_S)
        return False

    def _run_process(self, record: JobRecord) -> int:
        """Run a job in a process and return its exit code."""
        request = WebJobRequest(
            job_id=record.id,
            store=self._store.place,
            owner=self._store.owner,
            data=self._settings.data,
            media=self._settings.media,
            parent=os.getpid(),
            access=self._access,
            progressive=self._settings.progressive,
        )
        process = subprocess.Popen(JOB_COMMAND, stdin=subprocess.PIPE, text=True)
        try:
            send(process, request.as_json())
            while process.poll() is None and not self._is_to_end(record.id):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(WATCH_EVERY_S)
        finally:
            code = _end(process)
        return code

    def _is_to_end(self, job_id: str) -> bool:
        """Return whether a job's process is to end; while the database does not answer, it goes on."""
        is_cancelled = False
        with suppress(OperationalError):
            is_cancelled = self._store.state_of(job_id) == "cancelling"
        return self._stop.is_set() or is_cancelled

    def _note_end(self, record: JobRecord, code: int) -> None:
        """Update the record after a process has ended without doing so."""
        self._store.end_cancelled(record.id, self._store.owner)
        if self._store.state_of(record.id) != "running":
            return
        if self._stop.is_set():
            self._store.requeue(record.id, counted=False)
        elif code != EXIT_RETRY:
            logger.error("job %s: its process ended with code %d", record.id, code)
            self._store.fail(record.id, servers_failure("The job ended unexpectedly"), self._store.owner)
        else:
            has_advanced = self._store.advance(record.id)  # then its server may go away again: it costs no attempt
            if has_advanced or record.attempts < MAX_ATTEMPTS:
                self._store.requeue(record.id, counted=not has_advanced)
            else:
                self._store.fail(record.id, servers_failure(ServerUnavailable.title), self._store.owner)

    def _repeat(self, step: Callable[[], None], every_s: float) -> None:
        while True:
            try:
                step()
            except Exception:
                logger.exception("looking after jobs")  # such as a full disk: try again later
            if self._stop.wait(every_s):  # claims last longer than processes take to end
                return

    def _renew(self) -> None:
        if self._held:
            self._store.renew(tuple(self._held))

    def _look_after(self) -> None:
        try:
            self._store.revision()
        except OperationalError:
            self._recover_at = time.monotonic() + AFTER_OUTAGE_S
            raise
        if time.monotonic() >= self._recover_at:
            recover(self._store, self._media, tuple(self._held))
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_EVERY_S
            sweep(self._settings, self._store, self._media)


def send(process: subprocess.Popen[str], text: str) -> None:
    """Write to a process's stdin and close it; a process that has ended already is no error."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(text)


def _end(process: subprocess.Popen[str]) -> int:
    """End a process, by force if it does not exit in time. Returns its exit code."""
    process.terminate()
    try:
        return process.wait(END_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
