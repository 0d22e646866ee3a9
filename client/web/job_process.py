"""The process that runs one job of the service: `python -m client.web.job_process`. It ends with its parent.

A signal ends it as it ends the command line: requests under way are given up, so that the server is free within a
step. What it learns goes into the job's record; its exit code says how it ended.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import time
from pathlib import Path

from client.errors import LipSyncError, MediaError, NoFaceError, OutputError, ServerUnavailable, UsageError
from client.job import Job
from client.logs import set_up_logs
from client.process import end_on_signals
from client.servers.access import ServerAccess
from client.servers.pool import ServerPool
from client.system import return_freed_frames
from client.web.job_settings import JobSettings
from client.web.store import JobStore

EXIT_RETRY = 75  # EX_TEMPFAIL of sysexits.h
PR_SET_PDEATHSIG = 1  # prctl option: signal for a child whose parent dies; source: man 2 prctl
NOTE_EVERY_S = 0.4
TITLES: dict[type[LipSyncError], str] = {
    NoFaceError: "No face was found",
    MediaError: "The video or the audio cannot be used",
    UsageError: "An option cannot be used as it is",
    OutputError: "The result cannot be written",
}
SERVERS_FAULT = "Something went wrong on the server, not with your files. Try again, or ask who runs this service"
logger = logging.getLogger("client.web")


class StoredProgress:
    """Tells the job's record how far it is, a few times a second."""

    def __init__(self, store: JobStore, job_id: str) -> None:
        """Tell this job's record."""
        self._store = store
        self._job_id = job_id
        self._frames = 0
        self._noted_at = 0.0

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Note the stage."""
        self._frames = 0
        self._store.begin_stage(self._job_id, name, total_frames)

    def advance(self, frames: int) -> None:
        """Count frames; note them now and then."""
        self._frames += frames
        now = time.monotonic()
        if now - self._noted_at >= NOTE_EVERY_S:
            self._noted_at = now
            self._store.note_frames(self._job_id, self._frames)


def main(argv: list[str] | None = None) -> int:
    """Run one job; returns 0 when its record says how it ended, EXIT_RETRY when it is to be tried again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="the jobs' records")
    parser.add_argument("--folder", type=Path, required=True, help="the job's files")
    parser.add_argument("--id", required=True, help="the job")
    parser.add_argument("--parent", type=int, required=True, help="process that this one ends with")
    parser.add_argument("--last-try", action="store_true", help="give up where the server cannot be reached")
    options = parser.parse_args(argv)
    _end_with_parent(options.parent)
    return_freed_frames()
    set_up_logs(as_json=False, quiet=False)
    store = JobStore(options.store.resolve())
    try:
        access = ServerAccess.from_json(sys.stdin.read())
        os.chdir(options.folder)  # no message names a folder of this machine
        run_job(store, options.id, access)
    except ServerUnavailable as error:
        logger.warning("job %s: %s", options.id, error)
        if not options.last_try:
            return EXIT_RETRY
        store.fail(options.id, "The lip-sync server cannot be reached", SERVERS_FAULT)
    except LipSyncError as error:
        logger.warning("job %s: %s", options.id, error)
        store.fail(options.id, *in_peoples_words(error))
    except Exception:
        logger.exception("job %s", options.id)
        store.fail(options.id, "The job failed", SERVERS_FAULT)
    return 0


def run_job(store: JobStore, job_id: str, access: ServerAccess) -> None:
    """Run a job in the current folder, and note its report.

    Raises:
        LipSyncError: whatever keeps the result from being complete.
    """
    record = store.get(job_id)
    if record is None:
        return
    settings = JobSettings(**record.settings)
    assert access.servers is not None  # the service always names some
    with Job(settings.job_options(Path(), job_id)) as job, ServerPool(access.servers, access.pool) as pool:
        report = job.run(pool, StoredProgress(store, job_id))
    said = report.as_dict()
    del said["output"]  # a path of this machine
    store.finish(job_id, said)


def in_peoples_words(error: LipSyncError) -> tuple[str, str]:
    """Say an error's title and detail; what concerns the server alone stays in its log."""
    title = TITLES.get(type(error))
    return ("The server could not do this job", SERVERS_FAULT) if title is None else (title, str(error))


def _end_with_parent(parent: int) -> None:
    """End like on a hang-up when the parent dies, also by kill -9."""
    end_on_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the service
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(EXIT_RETRY)


if __name__ == "__main__":
    sys.exit(main())
