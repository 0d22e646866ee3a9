"""How throughput grows with the number of servers: python -m perf scaling VIDEO SPEECH.

Starts servers on this host and runs the same job over the first, the first two, and so on. With --wait-s every chunk
waits that long on the server before it is worked on, one chunk at a time, as it would for a GPU of the server's own:
so the spread over servers shows also where they share a few cores.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from client.job import Job, JobOptions
from client.pipelines.mouth_motion import MouthMotion
from client.servers.addresses import parse_urls
from client.servers.options import PoolOptions
from client.servers.pool import ServerPool
from client.tracking.finder import MEDIAPIPE
from lipsync_core.repository import DEFAULT_REPOSITORY, VERSION_FOLDER, required_models
from lipsync_core.serving.links import link_models
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.arguments import whole_number

WAITING_MODEL = "mouth_warp"
WAIT = "    def run(\n"
WAITING_METHOD = """    def _respond(self, request):
        import time

        time.sleep({seconds})
        return super()._respond(request)

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job over one server, two, and so on, and print frames per second."""
    parser = argparse.ArgumentParser(prog="python -m perf scaling", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--servers", type=whole_number, default=3, metavar="N", help="(%(default)s)")
    parser.add_argument("--wait-s", type=float, default=0.0)
    parser.add_argument("--runs", type=whole_number, default=3, metavar="N", help="(%(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder, ExitStack() as stack:
        models = (MEDIAPIPE.model, MouthMotion.model)
        repository = waiting_repository(Path(folder), models, options.wait_s) if options.wait_s else DEFAULT_REPOSITORY
        servers = [
            stack.enter_context(EmbeddedServer(ServerOptions(repository, models))) for _ in range(options.servers)
        ]
        job = JobOptions(options.video, options.speech, Path(folder) / "out.mp4", if_audio_longer="cut")
        for count in range(1, options.servers + 1):
            rates, shares = zip(*(run_job(job, servers[:count]) for _ in range(options.runs)), strict=True)
            median = sorted(rates)[len(rates) // 2]
            print(f"{count} servers: median {median:6.1f} frames/s ({min(rates):.1f} to {max(rates):.1f})", shares[-1])
    return 0


def waiting_repository(folder: Path, models: Sequence[str], seconds: float) -> Path:
    """Lay out models with a generator that waits before each chunk, one chunk at a time; the others are links."""
    repository = link_models(DEFAULT_REPOSITORY, required_models(DEFAULT_REPOSITORY, list(models)), folder / "models")
    waiting = repository / WAITING_MODEL
    waiting.unlink()
    shutil.copytree(DEFAULT_REPOSITORY / WAITING_MODEL, waiting, ignore=shutil.ignore_patterns("__pycache__"))
    model, config = waiting / VERSION_FOLDER / "model.py", waiting / "config.pbtxt"
    model.write_text(model.read_text().replace(WAIT, WAITING_METHOD.format(seconds=seconds) + WAIT, 1))
    config.write_text(config.read_text().replace("count: 2", "count: 1"))
    return repository


def run_job(job: JobOptions, servers: Sequence[EmbeddedServer]) -> tuple[float, list[int]]:
    """Run the job over these servers; return its frames per second, and how many requests each answered."""
    with ServerPool(parse_urls([server.url for server in servers]), PoolOptions()) as pool, Job(job) as running:
        report = running.run(pool)
        return report.frames / report.seconds, list(pool.answered.values())


if __name__ == "__main__":
    sys.exit(main())
