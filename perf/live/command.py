"""How many live streams run in real time, and how soon the mouth moves: python -m perf live.

Makes a clip of 512x512 at 25 pictures per second, prepares it on a server of its own, and lets clients speak to it in
real time: utterances in pieces of 40 ms, with pauses, every third one interrupted. More and more streams at once, until
they fall behind. With --pace fast, voice is sent as fast as it is taken, to watch the server's memory. Rows are saved
as they are measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import get_args

from client.demo import SPEECH
from client.live.clips import CLIPS_VARIABLE
from client.live.engine import live_models
from client.live.messages import MODEL as LIVE_MODEL
from client.live.settings import Pace
from client.options import MODEL, live_pipelines
from client.prepared.options import PreparationOptions, read_preparation
from client.prepared.preparation import Preparation
from client.progress import SilentProgress
from client.servers.connection import TritonConnection
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.arguments import whole_number
from perf.live.clip import utterances_of, write_clip
from perf.live.measure import Target, measure
from perf.live.rows import Key, LiveResults, Row, load_live
from perf.load.sweep import metadata_version
from perf.load.sweep_options import positive, say, whole_numbers
from perf.machine.conditions import limit_cores, machine_conditions
from perf.machine.gpu import list_gpus, local_look
from perf.result_files import JSON_FILE, set_aside

DEFAULT_OUTPUT = DEFAULT_REPOSITORY.parent / "build" / "perf" / "live"
CLIP = "clip"
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)
WARM_UP_S = 6.0
PIPELINES = tuple(pipeline.name for pipeline in live_pipelines())
COLUMNS = {
    "first_p95_ms": "first frame p95",
    "late_p50_ms": "late p50",
    "late_p95_ms": "p95",
    "late_p99_ms": "p99",
    "held": "held",
    "left_out": "left out",
    "skew_ms": "skew",
    "interrupt_p95_ms": "interrupt p95",
    "times_real_time": "times real time",
    "server_cores": "server cores",
    "client_cores": "client cores",
    "gpu_utilization": "GPU %",
    "server_memory_mb": "server MB",
    "memory_growth_mb_per_min": "MB/min",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure more and more streams at once; returns 0 unless a stream failed.

    Raises:
        LipSyncError: the clip cannot be prepared, or the server is not there.
        ServerStartError: the server does not start.
    """
    options = build_parser().parse_args(argv)
    limit_cores(options.cores)
    utterances = utterances_of(options.audio)
    results = open_results(options)
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder, open_target(options, Path(folder)) as target:
        results.conditions["triton"] = metadata_version(target.url)
        warm_up = Key(options.pipeline, "real_time", 1)
        measure(target, warm_up, utterances, WARM_UP_S)
        print(header(), flush=True)
        for count in options.sessions:
            row = measure(target, Key(options.pipeline, options.pace, count), utterances, options.seconds)
            results.rows[row.key] = row
            results.save(options.output)
            print(line_of(row), flush=True)
            if row.status in ("behind", "failed"):
                break
    say(f"look at them with: python -m perf report {options.output}")
    return int(any(row.status == "failed" for row in results.rows.values()))


def open_results(options: argparse.Namespace) -> LiveResults:
    """Start new results; those that are there are renamed, never deleted."""
    if (options.output / JSON_FILE).is_file():
        set_aside(options.output, load_live(options.output).conditions)
    own = {
        "server": options.url or "embedded",
        "flavour": options.model_config_name or "default",
        "options": f"{options.seconds:g} s for each row",
        "command": " ".join(["python -m perf", *sys.argv[1:]]),
    }
    return LiveResults({**machine_conditions(), **own})


@contextmanager
def open_target(options: argparse.Namespace, folder: Path) -> Iterator[Target]:
    """Give the server that was named, or start one and prepare the clip on it.

    Raises:
        LipSyncError: the clip cannot be prepared.
        ServerStartError: the server does not start.
    """
    if options.url is not None:
        yield Target(options.url, options.clip, list)
        return
    video = write_clip(options.video, folder / f"{CLIP}.mp4")
    clips = folder / "clips"
    clips.mkdir()
    preparation = read_preparation(video, clips / CLIP, {MODEL.name: options.pipeline})
    models = (LIVE_MODEL, *preparation.needed_models, *live_models(preparation.values))
    served = ServerOptions(
        options.model_repository, tuple(dict.fromkeys(models)), config_name=options.model_config_name
    )
    with ExitStack() as stack:
        stack.enter_context(environment({CLIPS_VARIABLE: str(clips)}))
        server = stack.enter_context(EmbeddedServer(served))
        prepare(preparation, server.url)
        gpus = [gpu.index for gpu in list_gpus()]
        yield Target(server.url, CLIP, lambda: server.pids, local_look(gpus) if gpus else None)


def prepare(options: PreparationOptions, url: str) -> None:
    """Prepare a clip on a server.

    Raises:
        LipSyncError: it cannot be prepared.
    """
    with TritonConnection(url) as connection, Preparation(options, {}) as preparation:
        preparation.run(connection, SilentProgress())


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, which servers inherit, for the time of a context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def header() -> str:
    """Return the names of the columns that are printed."""
    return "  ".join(["at once", *COLUMNS.values(), "status"])


def line_of(row: Row) -> str:
    """Return a row's columns below those names; a figure that it lacks is a dash."""
    cells = [f"{row.key.sessions:7}"]
    for name, title in COLUMNS.items():
        cells.append(f"{row.figures[name]:{len(title)}g}" if name in row.figures else f"{'-':>{len(title)}}")
    return "  ".join([*cells, row.status, row.note]).rstrip()


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m perf live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sessions", type=whole_numbers, default=COUNTS, metavar="N,N", help="streams at once (1,2,3,4,6,8,12,16)"
    )
    parser.add_argument("--seconds", type=positive, default=40.0, metavar="S", help="time of each row (40)")
    parser.add_argument("--pace", choices=get_args(Pace), default="real_time", help="(%(default)s)")
    parser.add_argument("--pipeline", choices=PIPELINES, default=MODEL.default, help="(%(default)s)")
    parser.add_argument("--video", type=Path, help="video or image of the clip (the demo's portrait, swaying)")
    parser.add_argument("--audio", type=Path, default=SPEECH, help="recording that is spoken (a synthesised sentence)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="(%(default)s)")
    parser.add_argument("--cores", type=whole_number, help="use only this many CPU cores")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--clip", default=CLIP, metavar="NAME", help="prepared clip on that server (%(default)s)")
    parser.add_argument("--model-config-name", metavar="FLAVOUR", help="flavour to serve, as in lipsync serve")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
