"""Runs whole jobs through a server, for tests that look at what comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from client.job import Job
from client.job_options import JobOptions
from client.report import Report
from client.servers.calls import Transport
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer

Run = Callable[..., Report]


def job_runner(server: EmbeddedServer, connect: type[TritonConnection] = TritonConnection, **usual: object) -> Run:
    """Make a function that runs one job through a server; options that it is given come before the usual ones."""

    def run(video: Path, audio: Path, output: Path, transport: Transport = "auto", **options: object) -> Report:
        job_options = JobOptions.read(video, audio, output, {**usual, **options})
        with Job(job_options) as job, connect(server.url, transport) as connection:
            return job.run(connection)

    return run
