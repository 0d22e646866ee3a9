"""How throughput grows with the number of servers: python -m perf scaling VIDEO AUDIO.

Starts servers on this host and runs the same job over the first, the first two, and so on. With --wait-s each server
delays every chunk by that long, one chunk at a time, as if it waited for a GPU of its own. This shows the gain from
further servers even if they share a few CPU cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from client.job_options import JobOptions
from client.servers.access import ServerAccess
from client.servers.pool import ServerPool
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.repository import DEFAULT_REPOSITORY, required_models
from lipsync_core.serving.links import link_models
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.arguments import whole_number
from perf.jobs.timing import job_here, time_job

WAITING_MODEL = "mouth_warp"
WAIT = "    def run(\n"
WAITING_METHOD = """    def _respond(self, request):
        import time

        time.sleep({seconds})
        return super()._respond(request)

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job over one server, two, and so on; print frames per second and each server's share of the requests."""
    options = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder, ExitStack() as stack:
        job = JobOptions.read(options.video, options.audio, Path(folder) / "out.mp4", {"if_audio_longer": "cut"})
        models, repository = job.needed_models, DEFAULT_REPOSITORY
        if options.wait_s:
            repository = waiting_repository(Path(folder), models, options.wait_s)
        servers = [
            stack.enter_context(EmbeddedServer(ServerOptions(repository, models))) for _ in range(options.servers)
        ]
        for count in range(1, options.servers + 1):
            rates, requests = measure(job, servers[:count], options.runs)
            median = statistics.median(rates)
            print(f"{count} servers: median {median:6.1f} frames/s ({min(rates):.1f} to {max(rates):.1f})", requests)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m perf scaling", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument("--servers", type=whole_number, default=3, metavar="N", help="most servers (%(default)s)")
    parser.add_argument("--wait-s", type=float, default=0.0, metavar="S", help="delay of each chunk (%(default)s)")
    parser.add_argument("--runs", type=whole_number, default=3, metavar="N", help="runs per count (%(default)s)")
    return parser


def measure(job: JobOptions, servers: Sequence[EmbeddedServer], runs: int) -> tuple[list[float], list[int]]:
    """Run a job over servers; returns frames per second of each run, and the last run's requests by server."""
    answered: list[int] = []

    @contextmanager
    def connect() -> Iterator[ServerPool]:
        with ServerPool(ServerAccess(tuple(server.url for server in servers))) as pool:
            yield pool
            answered[:] = pool.answered.values()

    times = time_job(job_here(job, connect), runs)
    return [run.report.frames / run.report.seconds for run in times.runs], answered


def waiting_repository(folder: Path, models: Sequence[str], seconds: float) -> Path:
    """Lay out models with a generator that delays each chunk, one chunk at a time; the other models are links."""
    repository = link_models(DEFAULT_REPOSITORY, required_models(DEFAULT_REPOSITORY, list(models)), folder / "models")
    waiting = repository / WAITING_MODEL
    waiting.unlink()
    shutil.copytree(DEFAULT_REPOSITORY / WAITING_MODEL, waiting, ignore=shutil.ignore_patterns("__pycache__"))
    model, config = waiting / VERSION_FOLDER / "model.py", waiting / "config.pbtxt"
    model.write_text(model.read_text().replace(WAIT, WAITING_METHOD.format(seconds=seconds) + WAIT, 1))
    config.write_text(config.read_text().replace("count: 2", "count: 1"))
    return repository


if __name__ == "__main__":
    sys.exit(main())
