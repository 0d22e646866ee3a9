"""Runs one job against the user's servers or an embedded one. The command line, batches and Python programs call it."""

from __future__ import annotations

from pathlib import Path

from client.job import Job
from client.job_options import JobOptions
from client.offer import weights_warnings
from client.prepared.weights import check_weights
from client.progress import JobProgress
from client.report import Report
from client.servers.access import ServerAccess
from client.servers.embedded import open_pool
from client.servers.room import room_for
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
    reserve_matrix_memory()
    if options.prepared is not None and not access.urls:
        check_weights(options.prepared, repository)
    with Job(options) as job:
        room = room_for(access)
        if room is not None:
            job.fit_into(room)
        progress.stage("connecting" if access.urls else "starting the server")
        with open_pool(access, repository, options.needed_models) as (pool, start_s):
            report = job.run(pool, progress, start_s)
    if not access.urls:
        report.warnings += weights_warnings(repository, options.needed_models)
    return report
