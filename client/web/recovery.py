"""Gives lost jobs back to the queue, and removes what is no longer needed."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.storage import StorageUnavailable
from client.web.callback_store import CallbackStore
from client.web.failures import servers_failure
from client.web.job_media import JobMedia
from client.web.job_record import ACTIVE
from client.web.settings import Settings
from client.web.store import JobStore

MAX_ATTEMPTS = 5
LOST_TOO_OFTEN = "The job was interrupted too often"  # of a failure, for people
STALE_UPLOAD_S = 6 * 3600.0
STALE_COPY_S = 3600.0  # how long copies stay of what was looked at, and of jobs that have ended
SWEEP_EVERY_S = 30.0
SWEEP, SWEEP_LEASE_S = "sweep", 3 * SWEEP_EVERY_S
LOCK_FLAGS = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
logger = logging.getLogger("client.web")


def recover(store: JobStore, media: JobMedia, held: Collection[str] = ()) -> None:
    """Queue jobs again whose process is lost, and fail those whose files are gone.

    Args:
        store: the records.
        media: the jobs' files.
        held: jobs that this process runs.
    """
    for lease in store.leases():
        if lease.job_id not in held and lease.is_lost:
            if lease.attempts >= MAX_ATTEMPTS:
                store.give_up(lease, servers_failure(LOST_TOO_OFTEN))
            if store.free(lease):
                store.end_cancelled(lease.job_id)
    for record in store.in_state("queued") if media.storage is None else []:
        if media.is_gone(record.id):
            store.fail(record.id, servers_failure("The job's files are gone"))


def sweep(settings: Settings, store: JobStore, media: JobMedia) -> None:
    """Remove deleted and old jobs, one service at a time, and interrupted uploads."""
    if store.take_duty(SWEEP, SWEEP_LEASE_S):
        CallbackStore(store).purge()
        _remove_expired(settings, store, media)
        store.forget_sessions()
    _remove_old(settings.uploads_folder, STALE_UPLOAD_S)
    if media.storage is not None:
        media.remove_leftovers()
        _remove_old(settings.shown_folder, STALE_COPY_S)
        _remove_ended(settings, store)


def _remove_expired(settings: Settings, store: JobStore, media: JobMedia) -> None:
    """Remove the files of deleted and old jobs, and after a while their records, of which followers are told before."""
    gone = []
    for record in store.expired(settings.keep_s):
        try:
            media.remove(record.id)
        except StorageUnavailable as error:
            logger.warning("files of ended jobs are removed later: %s", error)
            break  # the record stays, so that the files are found again
        gone.append(record.id)
        store.delete(record.id)
    store.purge(gone)


def _remove_old(folder: Path, stale_s: float) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # it has become a job meanwhile
            if time.time() - path.stat().st_mtime > stale_s:
                shutil.rmtree(path, ignore_errors=True)


def _remove_ended(settings: Settings, store: JobStore) -> None:
    """Remove old copies of jobs that have ended; any service of this folder may be running the others."""
    for path in settings.jobs_folder.iterdir():
        with suppress(FileNotFoundError):
            is_old = time.time() - path.stat().st_mtime > STALE_COPY_S
            if is_old and store.state_of(path.name) not in ACTIVE:
                shutil.rmtree(path, ignore_errors=True)


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
