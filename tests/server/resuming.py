"""Jobs that end half-way, as if their server had gone, for tests of those that continue them."""

from __future__ import annotations

import pytest

from client.errors import ServerUnavailable
from client.job import Job
from client.job_options import JobOptions
from client.report import Report
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer


class StopAfter:
    """Ends a job with an error once some frames are done, as a lost server would."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    def stage(self, name: str, total_frames: int | None = None) -> None: ...

    def advance(self, frames: int) -> None:
        self.left -= frames
        if self.left < 0:
            raise ServerUnavailable("gone")


def run(server: EmbeddedServer, options: JobOptions, stop_after: int | None = None) -> Report:
    """Run a job; it ends with an error after some frames, if any are given."""
    progress = None if stop_after is None else StopAfter(stop_after)
    with Job(options) as job, TritonConnection(server.url) as connection:
        return job.run(connection, progress)


def interrupt(server: EmbeddedServer, options: JobOptions, after: int = 20) -> str:
    """Run a job that ends half-way, after some frames; returns what was noted on its error."""
    with pytest.raises(ServerUnavailable) as caught:
        run(server, options, stop_after=after)
    return " ".join(getattr(caught.value, "__notes__", ()))
