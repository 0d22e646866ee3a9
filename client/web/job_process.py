"""Runs one job of the web service in a process of its own, which ends with its parent.

`python -m client.web.job_process` reads a request as JSON from stdin. A signal ends it as it ends the command line:
requests in progress are cancelled, so that the server is free within a step. The outcome goes into the job's record;
the answer on stdout, a `JobResult` as of all jobs' processes, only tells whether the job is to be tried again.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa

from client.errors import LipSyncError, MediaError, ServerUnavailable, UsageError, ref
from client.job_process import JobResult
from client.logs import set_up_logs
from client.options import CONTAINER
from client.process import end_on_signals, end_with_named_parent
from client.quality.fixing import run_corrected
from client.report import Report
from client.servers.access import ServerAccess
from client.servers.pool import ServerPool
from client.shortage import shortage_of
from client.storage import FileMissing
from client.system import return_freed_frames
from client.temporary import temporary_folder
from client.web.child import EXIT_RETRY
from client.web.failures import failure, servers_failure
from client.web.job_media import JobMedia, wait_for_storage
from client.web.job_record import JobRecord, files_of
from client.web.job_settings import JobSettings, result_file
from client.web.owner import process_name
from client.web.scripts import stored_script
from client.web.settings import Settings
from client.web.store import JobStore
from client.web.stored_file import is_stored

NOTE_EVERY_S = 0.4
INSIST_EVERY_S = 2.0
FOLDER_PREFIX = "lipsync-web-"
logger = logging.getLogger("client.web")


@dataclass(frozen=True)
class WebJobRequest:
    """What the process is told.

    Attributes:
        job_id: the job.
        store: where the jobs' records are; an address may hold a password.
        owner: in whose name the job is claimed.
        attempt: number of this start.
        data: the service's folder; None for a temporary one, where another machine may run the job.
        media: address of the storage of the jobs' files; None if they are in the folder.
        access: the servers.
        progressive: see `Settings`.
        environment: variables that the job needs beside those of the machine that runs it.
    """

    job_id: str
    store: Path | str
    owner: str
    attempt: int
    data: Path | None
    media: str | None
    access: ServerAccess
    progressive: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    command: ClassVar[tuple[str, ...]] = (sys.executable, "-m", "client.web.job_process")
    shows_log: ClassVar[bool] = True

    def as_json(self) -> str:
        """Return the request for stdin; it holds the servers' token."""
        data = None if self.data is None else str(self.data)
        return json.dumps({**vars(self), "store": str(self.store), "data": data, "access": self.access.as_json()})

    @classmethod
    def from_json(cls, text: str) -> WebJobRequest:
        """Rebuild what `as_json` wrote."""
        fields = json.loads(text)
        store: Path | str = fields["store"]
        store = store if "://" in fields["store"] else Path(fields["store"])
        data = None if fields["data"] is None else Path(fields["data"])
        access = ServerAccess.from_json(fields["access"])
        return cls(**fields | {"store": store, "data": data, "access": access})


class ClaimLost(Exception):
    """Another process runs the job now: this one is to stop, and to record nothing."""


class StoredProgress:
    """Writes the job's progress into its record, about every half second, and stops a job that was taken over."""

    def __init__(self, store: JobStore, job_id: str) -> None:
        """Write into this job's record."""
        self._store = store
        self._job_id = job_id
        self._frames = 0
        self._noted_at = 0.0

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Record the start of a stage."""
        self._frames = 0
        self._note(lambda: self._store.begin_stage(self._job_id, name, total_frames, self._store.owner))

    def advance(self, frames: int) -> None:
        """Count frames; record the count now and then."""
        self._frames += frames
        now = time.monotonic()
        if now - self._noted_at >= NOTE_EVERY_S:
            self._noted_at = now
            self._note(lambda: self._store.note_frames(self._job_id, self._frames, self._store.owner))

    def _note(self, step: Callable[[], bool]) -> None:
        """Write progress; a database that does not answer for a while does no harm.

        Raises:
            ClaimLost: another process runs the job now.
        """
        try:
            if not step() and not self._store.is_mine(self._job_id):
                raise ClaimLost
        except sa.exc.OperationalError as error:
            logger.warning("job %s: its progress is not recorded: %s", self._job_id, type(error.orig).__name__)


def main() -> int:
    """Run the job that stdin describes; returns 0 if its record has the outcome, EXIT_RETRY if it is to be retried."""
    end_on_signals()
    end_with_named_parent(sys.argv)
    return_freed_frames()
    request = WebJobRequest.from_json(sys.stdin.read())
    os.environ.update(request.environment)
    set_up_logs(as_json=False, quiet=False)
    code = _code_of(request)
    print(JobResult(code).as_json(), flush=True)
    return code


def _code_of(request: WebJobRequest) -> int:
    try:
        store = JobStore(request.store, request.owner, process_name(os.getpid()))
    except UsageError as error:
        logger.warning("job %s: %s", request.job_id, str(error))
        return EXIT_RETRY
    if request.data is not None:
        return record_job(store, request, request.data)
    with temporary_folder(FOLDER_PREFIX) as folder:
        return record_job(store, request, folder)


def record_job(store: JobStore, request: WebJobRequest, data: Path) -> int:
    """Run a claimed job and record how it ends; returns what `main` does.

    Args:
        store: the jobs' records.
        request: the job.
        data: the service's folder, or one in its place.
    """
    try:
        if not store.enter(request.job_id, request.attempt):
            return 0
        settings = Settings(data, media=request.media, progressive=request.progressive)
        run_job(store, JobMedia(settings), request.job_id, request.access, is_watched=settings.progressive)
    except sa.exc.OperationalError as error:
        logger.warning("job %s: the records do not answer: %s", request.job_id, type(error.orig).__name__)
        return EXIT_RETRY
    except ClaimLost:
        logger.warning("job %s: another process runs it now", request.job_id)
    except ServerUnavailable as error:
        logger.warning("job %s: %s", request.job_id, str(error))
        return EXIT_RETRY
    except LipSyncError as error:
        logger.warning("job %s: %s", request.job_id, str(error))
        failed = failure(error)
        _insist(lambda: store.fail(request.job_id, failed, store.owner))
    except Exception as error:
        logger.exception("job %s", request.job_id)
        failed = servers_failure((shortage_of(error) or LipSyncError).title)
        _insist(lambda: store.fail(request.job_id, failed, store.owner))
    return 0


def run_job(store: JobStore, media: JobMedia, job_id: str, access: ServerAccess, *, is_watched: bool = False) -> None:
    """Run a job in its folder, which becomes the current one, store its result, and record its report.

    Args:
        store: the jobs' records.
        media: the jobs' files.
        job_id: the job.
        access: the servers.
        is_watched: see `JobOptions`.

    Raises:
        LipSyncError: the result cannot be completed.
        ClaimLost: another process runs the job now.
        sqlalchemy.exc.OperationalError: the records do not answer.
    """
    record = store.get(job_id)
    if record is None:
        return
    wait_for_storage(lambda: _fetch(media, record), f"job {job_id}")
    os.chdir(media.folder(job_id))  # so that no message names a folder of this machine
    for name in files_of(record):
        if not is_stored(Path(name)):
            raise _file_is_missing(name)
    script = None if record.voices is None else stored_script(Path())
    chosen = JobSettings(**record.settings)
    options = replace(chosen.job_options(Path(), job_id, script and script.scene), is_watched=is_watched)
    with ServerPool(access) as pool:
        report = run_corrected(options, lambda job: job.run(pool, StoredProgress(store, job_id)))
    fields = report.as_dict(ref)  # the API and the page each spell options in their own way
    del fields["output"]  # a path of this machine
    if not _insist(lambda: store.is_mine(job_id)):
        raise ClaimLost
    for name in (*_sidecars(report), result_file(record.settings[CONTAINER.name])):
        wait_for_storage(partial(media.put, job_id, Path(name)), f"the result of job {job_id}")
    _insist(lambda: store.finish(job_id, fields, store.owner))


def _sidecars(report: Report) -> Sequence[str]:
    """Return the name of the file with the result's credentials, if there is one."""
    sidecar = None if report.provenance is None else report.provenance.sidecar
    return () if sidecar is None else (sidecar,)


def _fetch(media: JobMedia, record: JobRecord) -> None:
    try:
        media.fetch(record.id, files_of(record))
    except FileMissing as error:
        raise _file_is_missing(error.about.rpartition("/")[2]) from None


def _file_is_missing(name: str) -> MediaError:
    return MediaError(about=name, expected="a file", got="none", advice="Send it again")


def _insist(step: Callable[[], bool]) -> bool:
    """Record a job's end, however long the database does not answer."""
    while True:
        try:
            return step()
        except sa.exc.OperationalError as error:
            logger.warning("a job's end waits for the database: %s", type(error.orig).__name__)
            time.sleep(INSIST_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
