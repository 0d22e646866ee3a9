"""Runs one job of the web service in a process of its own, which ends with its parent.

`python -m client.web.job_process` reads a request as JSON from stdin. A signal ends it as it ends the command line:
requests in progress are cancelled, so that the server is free within a step. The outcome goes into the job's record;
the exit code only tells whether the job is to be tried again.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from client.errors import LipSyncError, MediaError, NoFaceError, OutputError, ServerUnavailable, UsageError, ref
from client.job import Job
from client.logs import set_up_logs
from client.process import end_on_signals
from client.servers.access import ServerAccess
from client.servers.pool import ServerPool
from client.shortage import shortage_of
from client.system import return_freed_frames
from client.web.job_record import Failure
from client.web.job_settings import AUDIO_FILE, SETTING_NAMES, VIDEO_FILE, JobSettings
from client.web.labels import JOB_FILES, for_user
from client.web.store import JobStore
from client.web.stored_file import is_stored

EXIT_RETRY = 75  # EX_TEMPFAIL of sysexits.h
PR_SET_PDEATHSIG = 1  # prctl option: signal for a child whose parent dies; source: man 2 prctl
NOTE_EVERY_S = 0.4
USERS_ERRORS = (MediaError, NoFaceError, OutputError, UsageError)  # others concern the server alone
SERVERS_FAULT = "Something went wrong on the server, not with your files. Try again, or ask whoever runs this service"
logger = logging.getLogger("client.web")


@dataclass(frozen=True)
class WebJobRequest:
    """What the process is told.

    Attributes:
        job_id: the job.
        store: file of the jobs' records.
        folder: folder of the job's files.
        parent: id of the process that this one ends with.
        is_last_try: whether the job fails if the server cannot be reached.
        access: the servers.
    """

    job_id: str
    store: Path
    folder: Path
    parent: int
    is_last_try: bool
    access: ServerAccess

    def as_json(self) -> str:
        """Return the request for stdin; it holds the servers' token."""
        fields = {**vars(self), "store": str(self.store), "folder": str(self.folder), "access": self.access.as_json()}
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> WebJobRequest:
        """Rebuild what `as_json` wrote."""
        fields = json.loads(text)
        paths = {name: Path(fields[name]) for name in ("store", "folder")}
        return cls(**fields | paths | {"access": ServerAccess.from_json(fields["access"])})


class StoredProgress:
    """Writes the job's progress into its record, a few times a second."""

    def __init__(self, store: JobStore, job_id: str) -> None:
        """Write into this job's record."""
        self._store = store
        self._job_id = job_id
        self._frames = 0
        self._noted_at = 0.0

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Record the start of a stage."""
        self._frames = 0
        self._store.begin_stage(self._job_id, name, total_frames)

    def advance(self, frames: int) -> None:
        """Count frames; record the count now and then."""
        self._frames += frames
        now = time.monotonic()
        if now - self._noted_at >= NOTE_EVERY_S:
            self._noted_at = now
            self._store.note_frames(self._job_id, self._frames)


def main() -> int:
    """Run the job that stdin describes; returns 0 if its record has the outcome, EXIT_RETRY if it is to be retried."""
    _end_with_parent()
    return_freed_frames()
    request = WebJobRequest.from_json(sys.stdin.read())
    if os.getppid() != request.parent:  # it died before this process could ask for a signal
        return EXIT_RETRY
    set_up_logs(as_json=False, quiet=False)
    store = JobStore(request.store.resolve())
    try:
        os.chdir(request.folder)  # so that no message names a folder of this machine
        run_job(store, request.job_id, request.access)
    except ServerUnavailable as error:
        logger.warning("job %s: %s", request.job_id, str(error))
        if not request.is_last_try:
            return EXIT_RETRY
        store.fail(request.job_id, failure(error))
    except LipSyncError as error:
        logger.warning("job %s: %s", request.job_id, str(error))
        store.fail(request.job_id, failure(error))
    except Exception as error:
        logger.exception("job %s", request.job_id)
        store.fail(request.job_id, servers_failure((shortage_of(error) or LipSyncError).title))
    return 0


def run_job(store: JobStore, job_id: str, access: ServerAccess) -> None:
    """Run a job in the current folder and record its report.

    Raises:
        LipSyncError: the result cannot be completed.
    """
    record = store.get(job_id)
    if record is None:
        return
    for name in (VIDEO_FILE, AUDIO_FILE):
        if not is_stored(Path(name)):
            raise MediaError(about=name, expected="a file", got="none", advice="Send it again")
    settings = JobSettings(**record.settings)
    with Job(settings.job_options(Path(), job_id)) as job, ServerPool(access) as pool:
        report = job.run(pool, StoredProgress(store, job_id))
    fields = report.as_dict(ref)  # the API and the page each spell options in their own way
    del fields["output"]  # a path of this machine
    store.finish(job_id, fields)


def failure(error: LipSyncError) -> Failure:
    """Return what the user is told about an error; what concerns the server alone stays in its log."""
    is_users = isinstance(error, USERS_ERRORS) and SETTING_NAMES.issuperset(error.options)
    if is_users and error.about in {"", *JOB_FILES}:
        return Failure(error.title, str(error), for_user(error))
    return servers_failure(error.title)


def servers_failure(title: str) -> Failure:
    """Return a failure that is not due to the user's files and options."""
    return Failure(title, SERVERS_FAULT, SERVERS_FAULT)


def _end_with_parent() -> None:
    """End by a signal when the parent dies, also by kill -9."""
    end_on_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the service
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
