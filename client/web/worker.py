"""Claims jobs and has them run; keeps the claims alive, and looks after lost jobs. Does not know where they run."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType

from sqlalchemy.exc import OperationalError

from client.errors import LipSyncError, ServerUnavailable
from client.offer import models_on_server
from client.running.local import LocalRunner
from client.running.process import KILL_AFTER_S
from client.running.ray_link import RayLink
from client.running.runner import EndedJob, JobRunner
from client.servers.access import ServerAccess
from client.web.child import EXIT_RETRY
from client.web.failures import servers_failure
from client.web.job_media import JobMedia
from client.web.job_process import WebJobRequest
from client.web.job_record import ENDED, JobRecord
from client.web.job_turns import RENEW_EVERY_S
from client.web.recovery import LOST_TOO_OFTEN, MAX_ATTEMPTS, SWEEP_EVERY_S, recover, sweep
from client.web.settings import Settings
from client.web.signing import signing_of_jobs
from client.web.store import JobStore

POLL_EVERY_S = 1.0  # how often an idle worker looks for jobs of other processes; those of its own wake it at once
WATCH_EVERY_S = 0.25  # how soon a cancellation reaches the process
STOP_S = 2 * KILL_AFTER_S  # within which jobs that are told to end have ended
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


def trouble_on_ray(link: RayLink, access: ServerAccess) -> str | None:
    """Return why no job can be run on a cluster; None if one can. Machines start servers where none is named."""
    return link.trouble or (trouble_with_servers(access) if access.urls else None)


class Workers:
    """Claims jobs and has a runner run them until the context is left; keeps the claims, and recovers lost jobs."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        media: JobMedia,
        access: ServerAccess,
        trouble: Callable[[ServerAccess], str | None] = trouble_with_servers,
        runner: JobRunner | None = None,
    ) -> None:
        """Prepare the threads; nothing runs before the context is entered.

        Args:
            settings: limits and folders.
            store: the jobs' records.
            media: the jobs' files.
            access: the servers.
            trouble: says why no job can be run; None if one can. No job starts before.
            runner: runs the jobs, and is closed at the end; None for processes of this machine.
        """
        self._settings = settings
        self._store = store
        self._media = media
        self._access = access
        self._trouble = trouble
        self._runner: JobRunner = runner or LocalRunner(settings.workers, end_with_parent=True)
        self._is_closing = threading.Event()  # no further job is claimed
        self._stop = threading.Event()  # those that run are ended
        self._has_ended = threading.Event()  # none runs any more
        self._held: dict[str, threading.Thread] = {}
        self._to_cancel: set[str] = set()  # when the records were last asked
        self._endings: dict[str, Future[EndedJob]] = {}
        self._taking = threading.Thread(target=self._take_turns, name="claim jobs", daemon=True)
        self._others = [
            threading.Thread(target=self._repeat, args=arguments, name=arguments[0].__name__, daemon=True)
            for arguments in ((self._look_after, LOOK_AFTER_EVERY_S), (self._renew, RENEW_EVERY_S))
        ]
        self._others += [
            threading.Thread(target=self._note_endings, name="note endings", daemon=True),
            threading.Thread(target=self._note_cancellations, name="note cancellations", daemon=True),
        ]
        self._sweep_at = self._recover_at = 0.0

    def __enter__(self) -> Workers:
        """Start, and recover the jobs of a service that died."""
        for thread in (*self._others, self._taking):
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let running jobs end for a while, then end their processes; what has not ended is queued again."""
        self._is_closing.set()
        self._store.tell_of_jobs()
        try:
            self._join(self._settings.drain_s)
        finally:  # also after a second signal
            self._stop.set()
        self._join(STOP_S)
        self._runner.close()
        self._join(STOP_S)
        self._has_ended.set()
        for thread in self._others:
            thread.join()
        with suppress(OperationalError):
            self._store.leave_duties()

    def _join(self, timeout_s: float) -> None:
        """Wait until no job is claimed or runs, or for some time."""
        until = time.monotonic() + timeout_s
        self._taking.join(timeout_s)
        for thread in [] if self._taking.is_alive() else list(self._held.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def _take_turns(self) -> None:
        """Start jobs while there is room, each time the one whose turn it is."""
        while not self._is_closing.is_set():
            try:
                is_wanted = self._has_room() and self._store.has_waiting()
                if not (is_wanted and self._wait_for_server() and self._start_next()):
                    self._store.wait_for_jobs(POLL_EVERY_S)
            except Exception:
                logger.exception("running jobs")
                self._is_closing.wait(AFTER_TROUBLE_S)

    def _has_room(self) -> bool:
        return len(self._held) < self._runner.in_flight_limit

    def _start_next(self) -> bool:
        """Start a job; False if none waits."""
        record = None if self._is_closing.is_set() else self._store.claim_next()
        if record is None:
            return False
        thread = threading.Thread(target=self._run_claimed, args=(record,), name=f"job {record.id}", daemon=True)
        self._held[record.id] = thread
        try:
            thread.start()
        except RuntimeError:  # the machine gives no more threads; the claim ends by itself
            del self._held[record.id]
            raise
        return True

    def _run_claimed(self, record: JobRecord) -> None:
        """Run a job to its end."""
        try:
            self._run_job(record)
        except Exception:
            logger.exception("job %s", record.id)
        finally:
            del self._held[record.id]
            self._store.tell_of_jobs()  # there is room for another

    def _run_job(self, record: JobRecord) -> None:
        if record.deleted:
            self._store.cancel(record.id)
            self._store.end_cancelled(record.id, self._store.owner)
            return
        ended = self._run_process(record)
        if ended.is_lost or ended.result.exit_code == EXIT_RETRY:
            self._stop.wait(RETRY_DELAY_S)  # the job stays claimed meanwhile
        while not self._is_settled(record, ended) and not self._stop.wait(AFTER_TROUBLE_S):
            pass

    def _is_settled(self, record: JobRecord, ended: EndedJob) -> bool:
        """Update the record and remove what is not needed any more; False if the database does not answer."""
        try:
            if self._store.is_mine(record.id):
                self._note_end(record, ended)
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
        """Wait until jobs can be run: the queue pauses, and they keep their attempts. False if the service ends."""
        is_told = False
        while not self._is_closing.is_set():
            trouble = self._trouble(self._access)
            if trouble is None:
                return True
            if not is_told:
                logger.warning("jobs wait until they can be run: %s", trouble)
            is_told = True
            self._is_closing.wait(READY_EVERY_S)
        return False

    def _run_process(self, record: JobRecord) -> EndedJob:
        """Have a job run, and ended early where it is cancelled or this process ends; returns how it ended."""
        ending = self._endings[record.id] = Future()
        self._runner.submit(self._request(record))
        is_told = False
        while True:
            with suppress(TimeoutError):
                return ending.result(WATCH_EVERY_S)
            if not is_told and self._is_to_end(record.id):
                is_told = True
                self._runner.cancel(record.id)

    def _request(self, record: JobRecord) -> WebJobRequest:
        is_elsewhere = self._settings.ray is not None
        return WebJobRequest(
            job_id=record.id,
            store=self._store.place,
            owner=self._store.owner,
            attempt=record.attempts,
            data=None if is_elsewhere else self._settings.data,
            media=self._media.address if is_elsewhere else self._settings.media,
            access=self._access,
            progressive=self._settings.progressive and not is_elsewhere,  # nobody sees another machine's folders
            environment=signing_of_jobs(os.environ) if is_elsewhere else {},
        )

    def _note_endings(self) -> None:
        while not self._has_ended.is_set():
            ended = self._runner.wait(WATCH_EVERY_S)
            if ended is not None and ended.job_id in self._endings:
                self._endings.pop(ended.job_id).set_result(ended)

    def _is_to_end(self, job_id: str) -> bool:
        """Return whether a job's process is to end; while the database does not answer, it goes on."""
        is_cancelled = False
        if job_id in self._to_cancel:  # it may have been sent again since
            with suppress(OperationalError):
                is_cancelled = self._store.state_of(job_id) == "cancelling"
        return self._stop.is_set() or is_cancelled

    def _note_cancellations(self) -> None:
        """Ask for all jobs at once: a service may run hundreds on a cluster."""
        while not self._stop.wait(WATCH_EVERY_S):
            with suppress(OperationalError):
                held = tuple(self._held)
                self._to_cancel = self._store.cancelling_of(held) if held else set()

    def _note_end(self, record: JobRecord, ended: EndedJob) -> None:
        """Update the record after a process has ended without doing so."""
        self._store.end_cancelled(record.id, self._store.owner)
        if self._store.state_of(record.id) != "running":
            return
        if self._stop.is_set():
            self._store.requeue(record.id, counted=False)
        elif ended.is_lost:
            logger.warning("job %s: %s", record.id, ended.result.error)
            self._try_again(record, LOST_TOO_OFTEN)
        elif ended.result.exit_code == EXIT_RETRY:
            self._try_again(record, ServerUnavailable.title)
        else:
            logger.error("job %s: %s", record.id, ended.result.error or "its process has recorded no end")
            self._store.fail(record.id, servers_failure("The job ended unexpectedly"), self._store.owner)

    def _try_again(self, record: JobRecord, title: str) -> None:
        """Queue a job again, or fail it with this title where that was done too often."""
        has_advanced = self._store.advance(record.id)  # then its server may go away again: it costs no attempt
        if has_advanced or record.attempts < MAX_ATTEMPTS:
            self._store.requeue(record.id, counted=not has_advanced)
        else:
            self._store.fail(record.id, servers_failure(title), self._store.owner)

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
