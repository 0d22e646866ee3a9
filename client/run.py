"""Runs one job against the user's servers or an embedded one. The command line, batches and Python programs call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.job import Job
from client.job_options import JobOptions
from client.offer import weights_warnings
from client.prepared.weights import check_weights
from client.progress import JobProgress
from client.quality.fixing import run_corrected
from client.report import Report
from client.resume.job_part import JobPart
from client.scene.options import SPEAKING
from client.servers.access import ServerAccess
from client.servers.calls import TritonCalls
from client.servers.embedded import open_pool
from client.servers.room import room_for
from client.syncnet.served import syncnet_to_serve
from client.system import reserve_matrix_memory


def run_job(options: JobOptions, access: ServerAccess, repository: Path, progress: JobProgress) -> Report:
    """Run a job to its end.

    Args:
        options: the job.
        access: the servers; without URLs one is started for this job alone.
        repository: the models of a server that is started.
        progress: is told the stages and frames.

    Raises:
        LipSyncError: whatever keeps the output from being complete; nothing is left under its name then.
        ServerStartError: the embedded server does not start.
    """

    def run(job: Job) -> Report:
        with _servers_for(job, access, repository, progress) as (pool, start_s):
            return job.run(pool, progress, start_s)

    _prepare(options, access, repository)
    report = run_corrected(options, run)
    if not access.urls:
        report.warnings += weights_warnings(repository, options.needed_models)
    return report


def draw_part(
    options: JobOptions, part: JobPart, access: ServerAccess, repository: Path, progress: JobProgress
) -> None:
    """Draw a part of a job, and keep the answers in its work folder; see `run_job`.

    Raises:
        LipSyncError: the part cannot be drawn.
        ServerStartError: the embedded server does not start.
    """
    _prepare(options, access, repository)
    with Job(options) as job, _servers_for(job, access, repository, progress) as (pool, _):
        job.draw_part(part, pool, progress)


def _prepare(options: JobOptions, access: ServerAccess, repository: Path) -> None:
    reserve_matrix_memory()
    if options.prepared is not None and not access.urls:
        check_weights(options.prepared, repository)


@contextmanager
def _servers_for(
    job: Job, access: ServerAccess, repository: Path, progress: JobProgress
) -> Iterator[tuple[TritonCalls, float | None]]:
    """Give the servers of a job, and how long one that was started took to start, in seconds."""
    room = room_for(access)
    if room is not None:
        job.fit_into(room)
    progress.stage("connecting" if access.urls else "starting the server")
    options = job.options
    measures = options.is_checked_in_full or options.values[SPEAKING] == "syncnet"
    optional = syncnet_to_serve(repository) if measures else ()
    models = (*options.needed_models, *options.check_models, *optional)
    with open_pool(access, repository, models) as opened:
        yield opened
