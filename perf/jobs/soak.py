"""Whether a server stays flat over many jobs: python -m perf soak VIDEO SPEECH --jobs 20.

Prints, after each job, the private resident memory of the server with its Python stubs, its shared
memory, and its open files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from client.job import Job, JobOptions
from client.servers.calls import Transport
from client.servers.connection import TritonConnection
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.arguments import whole_number

MB = 1_000_000
KIB = 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the jobs one after the other through one server and print what it holds after each."""
    parser = argparse.ArgumentParser(prog="python -m perf soak", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--jobs", type=whole_number, default=20, metavar="N", help="(%(default)s)")
    parser.add_argument("--transport", choices=["shm", "grpc"], default="shm")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        run_jobs(JobOptions(options.video, options.speech, Path(folder) / "out.mp4"), options.jobs, options.transport)
    return 0


def run_jobs(job_options: JobOptions, count: int, transport: Transport) -> None:
    """Run the same job many times through one server; print a line for each."""
    with EmbeddedServer(ServerOptions(DEFAULT_REPOSITORY, job_options.needed_models)) as server:
        print(f"{'job':>4} {'seconds':>8} {'private MB':>14} {'/dev/shm MB':>12} {'open files':>11}")
        for number in range(1, count + 1):
            with Job(job_options) as job, TritonConnection(server.url, transport) as connection:
                report = job.run(connection)
            held = resident_bytes(server.pids) / MB, shared_bytes(server.shm_prefix) / MB, open_files(server.pids)
            print(f"{number:4} {report.seconds:8.2f} {held[0]:14.1f} {held[1]:12.1f} {held[2]:11}", flush=True)


def resident_bytes(pids: list[int]) -> int:
    """Resident memory that several processes have to themselves; what they share stands in /dev/shm."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1]) * KIB
    return total


def shared_bytes(prefix: str) -> int:
    """Shared memory whose names begin with a server's prefix."""
    return sum(path.stat().st_size for path in Path("/dev/shm").glob(f"{prefix}*"))


def open_files(pids: list[int]) -> int:
    """File descriptors that several processes hold open."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


if __name__ == "__main__":
    sys.exit(main())
