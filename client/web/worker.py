"""Takes jobs from the queue and runs each in a process of its own; recovers jobs of workers that died."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from client.errors import LipSyncError
from client.offer import models_on_server
from client.servers.access import ServerAccess
from client.web.job_process import EXIT_RETRY, WebJobRequest, servers_failure
from client.web.job_queue import JobQueue
from client.web.job_record import ENDED, JobRecord
from client.web.job_settings import PARTS_FOLDER
from client.web.settings import Settings
from client.web.store import JobStore

WATCH_EVERY_S = 0.1  # how soon a cancellation reaches the process
END_GRACE_S = 20.0  # time for a process to cancel its requests and exit
LOOK_AFTER_EVERY_S = 2.0
SWEEP_EVERY_S = 30.0
STALE_UPLOAD_S = 6 * 3600.0
MAX_ATTEMPTS = 5
RETRY_DELAY_S = 2.0
READY_EVERY_S = 1.0  # between two questions to servers that are not ready
LOCK_FLAGS = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
logger = logging.getLogger("client.web")


def trouble_with_servers(access: ServerAccess) -> str | None:
    """Return why none of the servers is ready; None if one is."""
    try:
        models_on_server(access)
    except LipSyncError as error:
        return str(error)
    return None


class Workers:
    """Threads that run jobs until the context is left, and one that recovers and removes jobs."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        queue: JobQueue,
        access: ServerAccess,
        trouble: Callable[[ServerAccess], str | None] = trouble_with_servers,
    ) -> None:
        """Prepare the threads; nothing runs before the context is entered.

        Args:
            settings: limits and folders.
            store: the jobs' records.
            queue: the jobs' ids.
            access: the servers.
            trouble: says why no server is ready; None if one is. No job starts before.
        """
        self._settings = settings
        self._store = store
        self._queue = queue
        self._access = access
        self._trouble = trouble
        self._stop = threading.Event()
        self._consumer = queue.consumer(self._run, settings.workers)
        self._looking_after = threading.Thread(target=self._look_after, name="look after jobs", daemon=True)

    def __enter__(self) -> Workers:
        """Start, and recover the jobs of a service that died."""
        self._looking_after.start()
        if self._settings.workers:
            self._consumer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the jobs' processes; their jobs stay queued for the next start."""
        self._stop.set()
        if self._settings.workers:
            self._consumer.stop(graceful=True)
        self._looking_after.join()

    def _run(self, _queued_id: str) -> None:
        """Run the job whose user's turn it is; an id in the queue only says that one waits."""
        waiting = self._store.turns() if self._wait_for_server() else []
        any(self._run_job(job_id) for job_id in waiting)

    def _run_job(self, job_id: str) -> bool:
        """Run one job to its end; False if it is no longer queued, or another worker holds it."""
        with hold(self._settings, job_id) as lock:
            record = None if lock is None or self._stop.is_set() else self._store.claim(job_id)
            if record is None or lock is None:
                return False
            if record.deleted:
                self._store.cancel(job_id)
                self._store.end_cancelled(job_id)
                return True
            code = self._run_process(record, lock)
            if self._note_end(record, code):
                if self._store.state_of(job_id) in ENDED:
                    shutil.rmtree(self._settings.job_folder(job_id) / PARTS_FOLDER, ignore_errors=True)
                return True
        self._stop.wait(RETRY_DELAY_S)
        self._queue.put(job_id)
        return True

    def _wait_for_server(self) -> bool:
        """Wait until a server is ready: the queue pauses, and jobs keep their attempts. False if the service ends."""
        is_told = False
        while not self._stop.is_set():
            trouble = self._trouble(self._access)
            if trouble is None:
                return True
            if not is_told:
                logger.warning("jobs wait until a lip-sync server is ready: %s", trouble)
            is_told = True
            self._stop.wait(READY_EVERY_S)
        return False

    def _run_process(self, record: JobRecord, lock: int) -> int:
        """Run a job in a process, which holds the lock too, and return its exit code."""
        request = WebJobRequest(
            job_id=record.id,
            store=store_path(self._settings),
            folder=self._settings.job_folder(record.id),
            parent=os.getpid(),
            is_last_try=record.attempts >= MAX_ATTEMPTS,
            access=self._access,
        )
        command = [sys.executable, "-m", "client.web.job_process"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(lock,), text=True)
        try:
            send(process, request.as_json())
            while process.poll() is None and not self._is_to_end(record.id):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(WATCH_EVERY_S)
        finally:
            code = _end(process)
        return code

    def _is_to_end(self, job_id: str) -> bool:
        return self._stop.is_set() or self._store.state_of(job_id) == "cancelling"

    def _note_end(self, record: JobRecord, code: int) -> bool:
        """Update the record after a process has ended; False if the job is to be tried again."""
        self._store.end_cancelled(record.id)
        if self._store.state_of(record.id) != "running":
            return True
        if self._stop.is_set():
            self._store.requeue(record.id, counted=False)
            return True
        if code == EXIT_RETRY and record.attempts < MAX_ATTEMPTS:
            return not self._store.requeue(record.id)
        logger.error("job %s: its process ended with code %d", record.id, code)
        self._store.fail(record.id, servers_failure("The job ended unexpectedly"))
        return True

    def _look_after(self) -> None:
        sweep_at = 0.0
        while True:
            try:
                recover(self._settings, self._store, self._queue)
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + SWEEP_EVERY_S
                    sweep(self._settings, self._store)
            except Exception:
                logger.exception("recovering and removing jobs")  # such as a full disk: try again later
            if self._stop.wait(LOOK_AFTER_EVERY_S):
                return


def store_path(settings: Settings) -> Path:
    """Return the path of the jobs' records."""
    return settings.data / "jobs.sqlite3"


@contextmanager
def hold(settings: Settings, job_id: str) -> Iterator[int | None]:
    """Take a job's lock; None if another process has it. The system frees it when its last holder dies."""
    try:
        lock = os.open(settings.job_folder(job_id) / "lock", LOCK_FLAGS, 0o600)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):  # the job was deleted, its folder is gone; or a link
            raise
        yield None
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
    finally:
        os.close(lock)


def recover(settings: Settings, store: JobStore, queue: JobQueue) -> None:
    """Queue jobs again whose worker died, and queued jobs that are not in the queue."""
    for record in [*store.in_state("running"), *store.in_state("cancelling")]:
        with hold(settings, record.id) as lock:
            if lock is None and settings.job_folder(record.id).is_dir():
                continue  # another worker runs it
            if record.attempts >= MAX_ATTEMPTS:
                store.fail(record.id, servers_failure("The job was interrupted too often"))
            store.requeue(record.id)
            store.end_cancelled(record.id)
    waiting = queue.waiting()
    for record in store.in_state("queued"):
        if not settings.job_folder(record.id).is_dir():
            store.fail(record.id, servers_failure("The job's files are gone"))
        elif record.id not in waiting:
            queue.put(record.id)


def sweep(settings: Settings, store: JobStore) -> None:
    """Remove the files of deleted and old jobs, and of interrupted uploads."""
    store.purge()  # before the deletions below, which followers must still be told
    for record in store.expired(settings.keep_s):
        shutil.rmtree(settings.job_folder(record.id), ignore_errors=True)
        store.delete(record.id)
    for folder in settings.uploads_folder.iterdir():
        with suppress(FileNotFoundError):  # it has become a job meanwhile
            if time.time() - folder.stat().st_mtime > STALE_UPLOAD_S:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def hold_uploads(settings: Settings) -> Iterator[None]:
    """Hold the folder of uploads while serving; what killed services left in it is removed if nobody else serves."""
    lock = os.open(settings.data / "uploads.lock", LOCK_FLAGS, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.debug("another service takes uploads in %s", settings.data)
        else:
            for folder in settings.uploads_folder.iterdir():
                shutil.rmtree(folder, ignore_errors=True)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


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
