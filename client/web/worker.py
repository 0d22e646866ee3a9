"""Takes jobs from the queue and runs each in a process of its own; picks up what a dead worker left behind."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from client.servers.access import ServerAccess
from client.web.job_process import EXIT_RETRY, SERVERS_FAULT
from client.web.job_queue import JobQueue
from client.web.job_settings import PARTS_FOLDER
from client.web.settings import Settings
from client.web.store import ENDED, JobRecord, JobStore

WATCH_EVERY_S = 0.1  # how soon a cancellation reaches the process
END_GRACE_S = 20.0  # for a process to give its requests up and leave
LOOK_AFTER_EVERY_S = 2.0
SWEEP_EVERY_S = 30.0
STALE_UPLOAD_S = 6 * 3600.0
MAX_ATTEMPTS = 5
RETRY_DELAY_S = 2.0
logger = logging.getLogger("client.web")


class Workers:
    """Threads that run jobs until the context is left, and one that looks after the jobs' records."""

    def __init__(self, settings: Settings, store: JobStore, queue: JobQueue, access: ServerAccess) -> None:
        """Prepare; nothing runs before the context is entered."""
        self._settings = settings
        self._store = store
        self._queue = queue
        self._access = access
        self._stop = threading.Event()
        self._consumer = queue.consumer(self._run, settings.workers)
        self._looking_after = threading.Thread(target=self._look_after, name="look after jobs", daemon=True)

    def __enter__(self) -> Workers:
        """Start, picking up the jobs of a service that died."""
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

    def _run(self, job_id: str) -> None:
        """Run one job to its end, if it is still to be run and nobody else runs it."""
        with hold(self._settings, job_id) as lock:
            record = None if lock is None or self._stop.is_set() else self._store.claim(job_id)
            if record is None or lock is None:
                return
            if record.deleted:
                self._store.cancel(job_id)
                self._store.end_cancelled(job_id)
                return
            code = self._run_process(record, lock)
            if self._note_end(record, code):
                if self._store.state_of(job_id) in ENDED:
                    shutil.rmtree(self._settings.job_folder(job_id) / PARTS_FOLDER, ignore_errors=True)
                return
        self._stop.wait(RETRY_DELAY_S)
        self._queue.put(job_id)

    def _run_process(self, record: JobRecord, lock: int) -> int:
        """Run a job in a process, which holds the lock too, and return its exit code."""
        folder = self._settings.job_folder(record.id)
        command = [sys.executable, "-m", "client.web.job_process", f"--id={record.id}", f"--parent={os.getpid()}"]
        command += [f"--store={store_path(self._settings)}", f"--folder={folder}"]
        if record.attempts >= MAX_ATTEMPTS:
            command.append("--last-try")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(lock,), text=True)
        try:
            send(process, self._access.as_json())
            while process.poll() is None and not self._is_to_end(record.id):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(WATCH_EVERY_S)
        finally:
            code = _end(process)
        return code

    def _is_to_end(self, job_id: str) -> bool:
        return self._stop.is_set() or self._store.state_of(job_id) == "cancelling"

    def _note_end(self, record: JobRecord, code: int) -> bool:
        """Bring the record up to date after a process has ended; False when the job is to be tried again."""
        self._store.end_cancelled(record.id)
        if self._store.state_of(record.id) != "running":
            return True
        if self._stop.is_set():
            self._store.requeue(record.id, counted=False)
            return True
        if code == EXIT_RETRY and record.attempts < MAX_ATTEMPTS:
            return not self._store.requeue(record.id)
        logger.error("job %s: its process ended with code %d", record.id, code)
        self._store.fail(record.id, "The job ended unexpectedly", SERVERS_FAULT)
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
                logger.exception("looking after the jobs")  # such as a full disk: try again later
            if self._stop.wait(LOOK_AFTER_EVERY_S):
                return


def store_path(settings: Settings) -> Path:
    """Name the file of the jobs' records."""
    return settings.data / "jobs.sqlite3"


@contextmanager
def hold(settings: Settings, job_id: str) -> Iterator[int | None]:
    """Hold a job's lock, None where another process has it; the system frees it when its last holder dies."""
    try:
        lock = os.open(settings.job_folder(job_id) / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # the job was deleted, its folder is gone
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
    """Bring jobs back that a worker left when it died, and queued ones that no queue holds."""
    for record in [*store.in_state("running"), *store.in_state("cancelling")]:
        with hold(settings, record.id) as lock:
            if lock is None and settings.job_folder(record.id).is_dir():
                continue  # somebody is at it
            if record.attempts >= MAX_ATTEMPTS:
                store.fail(record.id, "The job was interrupted too often", SERVERS_FAULT)
            store.requeue(record.id)
            store.end_cancelled(record.id)
    waiting = queue.waiting()
    for record in store.in_state("queued"):
        if not settings.job_folder(record.id).is_dir():
            store.fail(record.id, "The job's files are gone", SERVERS_FAULT)
        elif record.id not in waiting:
            queue.put(record.id)


def sweep(settings: Settings, store: JobStore) -> None:
    """Remove the files of jobs that are deleted or old, and of uploads that broke off."""
    store.purge()  # not what is deleted below: its followers are still to hear of it
    for record in store.expired(settings.keep_s):
        shutil.rmtree(settings.job_folder(record.id), ignore_errors=True)
        store.delete(record.id)
    for folder in settings.uploads_folder.iterdir():
        with suppress(FileNotFoundError):  # it has become a job meanwhile
            if time.time() - folder.stat().st_mtime > STALE_UPLOAD_S:
                shutil.rmtree(folder, ignore_errors=True)


def send(process: subprocess.Popen[str], text: str) -> None:
    """Write to a process's stdin and close it; a process that has ended already is no error."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(text)


def _end(process: subprocess.Popen[str]) -> int:
    """Let a process leave by itself, then make it; one that has ended is left alone. Returns its exit code."""
    process.terminate()
    try:
        return process.wait(END_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
