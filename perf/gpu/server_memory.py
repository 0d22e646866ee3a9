"""How much GPU memory a running server takes: python -m perf server-memory VIDEO AUDIO.

Starts a server of a flavour, runs one job through it, and adds up what nvidia-smi lists for all of its processes:
weights, CUDA contexts, what each process keeps reserved, compiling included. In a container nvidia-smi may list no
processes; then it is what the card's use grew by, which holds only while nobody else uses it. Ends with exit code 1
above the limit. Other options go to the command lipsync.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from client.cli.run import build_parser as lipsync_parser
from client.cli.run import job_options
from client.job_options import JobOptions
from client.servers.connection import TritonConnection
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.serving.gpus import visible_gpus
from lipsync_core.serving.server import COMPILE_TIMEOUT_S, EmbeddedServer, ServerOptions
from perf.jobs.timing import job_here, time_job
from perf.machine.gpu import MB, SAMPLE_INTERVAL_S, card_memory_mb, process_memory_mb
from perf.machine.sampler import Sampler

LOW_MEMORY_FLAVOUR, LOW_MEMORY_GIB = "torch_low_memory", 10.0  # what docs/gpu.md says of it
MB_PER_GIB = (1 << 30) / MB
EXIT_TOO_MUCH = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and print the peak; returns 1 above the limit.

    Raises:
        ValueError: there is no GPU.
        LipSyncError: the job fails, or an option is wrong.
    """
    options, passed_on = build_parser().parse_known_args(argv)
    if not visible_gpus():
        raise ValueError("GPU: expected one that nvidia-smi shows, got none")
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        files = [f"--video={options.video}", f"--audio={options.audio}", f"--output={Path(folder) / 'out.mp4'}"]
        job = job_options(lipsync_parser().parse_args([*files, *passed_on]))
        peak = measure(job, options.model_repository, options.model_config_name)
    gib = peak.mb / MB_PER_GIB
    print(f"{options.model_config_name}: {gib:.2f} GiB at the peak, {peak.source}; limit {options.limit_gib:g} GiB")
    return EXIT_TOO_MUCH if gib > options.limit_gib else 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m perf server-memory", description=__doc__, allow_abbrev=False)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument(
        "--model-config-name", default=LOW_MEMORY_FLAVOUR, metavar="FLAVOUR", help="flavour to serve (%(default)s)"
    )
    parser.add_argument("--limit-gib", type=float, default=LOW_MEMORY_GIB, metavar="N", help="limit (%(default)s)")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    return parser


def measure(job: JobOptions, repository: Path, flavour: str) -> ServerMemorySampler:
    """Run a job through a server of its own on the first GPU; returns the peak of its memory."""
    gpu = visible_gpus()[0]
    server_options = ServerOptions(
        repository, job.needed_models, config_name=flavour, startup_timeout_s=COMPILE_TIMEOUT_S, gpu=gpu
    )
    server = EmbeddedServer(server_options)
    with ServerMemorySampler(lambda: server.pids, gpu) as sampler, server:
        time_job(job_here(job, lambda: TritonConnection(server.url)), 1)
    return sampler


class ServerMemorySampler(Sampler):
    """Samples the GPU memory of a server's processes while its context is open. Create it before the server starts."""

    def __init__(self, pids: Callable[[], Collection[int]], gpu: str) -> None:
        """Watch the processes that the function lists at each look, and one card as a whole."""
        super().__init__()
        self._pids, self._gpu = pids, gpu
        self._card_before_mb = card_memory_mb(gpu)
        self._processes_mb = self._card_mb = 0.0

    def look(self) -> float:
        """Take a sample; returns the pause until the next."""
        self._processes_mb = max(self._processes_mb, process_memory_mb(self._pids()))
        self._card_mb = max(self._card_mb, card_memory_mb(self._gpu) - self._card_before_mb)
        return SAMPLE_INTERVAL_S

    @property
    def mb(self) -> float:
        """The peak, in MB."""
        return self._processes_mb or self._card_mb

    @property
    def source(self) -> str:
        """Where the figure is from, in words."""
        return "of all its processes" if self._processes_mb else "by which the use of the card grew"


if __name__ == "__main__":
    sys.exit(main())
