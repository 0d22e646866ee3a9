"""Whether a server's memory stays flat over many jobs: python -m perf soak VIDEO AUDIO --jobs 20.

Runs the same job again and again through one server. After each run it prints the private resident memory of the
server with its Python stubs, its shared memory, and its open files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from client.job_options import JobOptions
from client.servers.calls import Transport
from client.servers.connection import TritonConnection
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.arguments import whole_number
from perf.jobs.timing import JobRun, job_here, time_job
from perf.machine.memory import MB, open_files, private_bytes

SHARED_MEMORY = Path("/dev/shm")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the jobs and print a line after each."""
    parser = argparse.ArgumentParser(prog="python -m perf soak", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument("--jobs", type=whole_number, default=20, metavar="N", help="number of jobs (%(default)s)")
    parser.add_argument("--transport", choices=["shm", "grpc"], default="shm", help="(%(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        run_jobs(JobOptions(options.video, options.audio, Path(folder) / "out.mp4"), options.jobs, options.transport)
    return 0


def run_jobs(job: JobOptions, count: int, transport: Transport) -> None:
    """Run a job many times through one embedded server, and print what the server holds after each run."""
    with EmbeddedServer(ServerOptions(DEFAULT_REPOSITORY, job.needed_models)) as server:

        def print_line(number: int, run: JobRun) -> None:
            held = private_bytes(server.pids) / MB, shared_bytes(server.shm_prefix) / MB, open_files(server.pids)
            line = f"{number:4} {run.report.seconds:8.2f} {held[0]:14.1f} {held[1]:12.1f} {held[2]:11}"
            print(line, flush=True)

        print(f"{'job':>4} {'seconds':>8} {'private MB':>14} {'/dev/shm MB':>12} {'open files':>11}")
        time_job(job_here(job, lambda: TritonConnection(server.url, transport)), count, after_each=print_line)


def shared_bytes(prefix: str) -> int:
    """Return the size of the shared memory regions whose names begin with a prefix, in bytes."""
    return sum(path.stat().st_size for path in SHARED_MEMORY.glob(f"{prefix}*"))


if __name__ == "__main__":
    sys.exit(main())
