"""How long whole jobs take from file to file: every pipeline, speed mode, GPU and sample.

python -m perf benchmark runs every exported pipeline in each of its modes, with every sample, on every GPU of the
machine, or on the CPU if it has none. Options after -- go to the command lipsync. Rows are saved as they are measured,
so the same command continues an interrupted benchmark.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.demo import SPEECH, write_photograph
from client.pipelines import PIPELINES, pipeline_named
from lipsync_core.repository import DEFAULT_REPOSITORY, missing_networks
from perf.arguments import whole_number
from perf.jobs.benchmark_rows import Benchmark, Key, Row, load_benchmark
from perf.jobs.timing import JobTimes, job_in_child, time_job
from perf.machine.conditions import limit_cores, machine_conditions, now
from perf.machine.gpu import Gpu, list_gpus
from perf.result_files import JSON_FILE, check_identity, set_aside

DEFAULT_OUTPUT = DEFAULT_REPOSITORY.parent / "build" / "perf" / "benchmark"
IDENTITY = ("machine", "cores", "gpus", "commit", "options")
CPU = "CPU"
ONLY_MODE = ("exact",)


@dataclass(frozen=True)
class Sample:
    """A video and its speech under a name."""

    name: str
    video: Path
    audio: Path


@dataclass(frozen=True)
class Run:
    """A row to measure; on the CPU without a GPU."""

    key: Key
    sample: Sample
    gpu: Gpu | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run or continue a benchmark; returns 0 if every row was measured, else 1.

    Raises:
        LipSyncError: the output folder holds results of other conditions.
        ValueError: no pipeline is exported.
    """
    arguments, passed_on = split_arguments(list(sys.argv[1:] if argv is None else argv))
    options = build_parser().parse_args(arguments)
    limit_cores(options.cores)
    conditions = {**machine_conditions(), "options": shlex.join(passed_on), "runs": options.runs}
    benchmark = open_benchmark(options.output, conditions, restart=options.restart)
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        samples = options.sample or [Sample("demo", write_photograph(Path(folder) / "photograph.png"), SPEECH)]
        planned = plan(chosen_pipelines(options, passed_on), samples, list_gpus())
        pending = [run for run in planned if run.key not in benchmark.rows or benchmark.rows[run.key].note]
        say(f"{len(planned)} rows, {len(planned) - len(pending)} measured already; results in {options.output}")
        try:
            for run in pending:
                row = measure_row(run, passed_on, options.runs)
                benchmark.rows[run.key] = row
                benchmark.save(options.output)
                say(f"{run.key}: {row.note or f'{row.seconds_per_second:.2f} s per second of video'}")
        except KeyboardInterrupt:
            kept = f"{len(benchmark.rows)} rows kept in {options.output}"
            raise KeyboardInterrupt(f"{kept}. Run the same command to continue") from None
    say(f"look at them with: python -m perf report {options.output}")
    return int(any(benchmark.rows[run.key].note for run in planned))


def measure_row(run: Run, passed_on: Sequence[str], count: int) -> Row:
    """Run a job several times; the row holds median times and peak memory, or a note why the job failed."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "" if run.gpu is None else str(run.gpu.index)}
    modes = pipeline_named(run.key.pipeline).modes
    mode = [] if modes is None else [modes.flag, run.key.speed]
    arguments = ["--model", run.key.pipeline, *mode, *passed_on]
    sample, gpus = run.sample, [] if run.gpu is None else [run.gpu.index]
    row = Row(run.key, sample.video.name, sample.audio.name, now())
    try:
        times = time_job(job_in_child(sample.video, sample.audio, arguments, environment, gpus), count)
    except ValueError as error:
        return dataclasses.replace(row, note=str(error))
    return dataclasses.replace(row, figures=figures_of(times), stages=times.middle.report.seconds_per_stage)


def figures_of(times: JobTimes) -> dict[str, float]:
    """Return the figures of a row; those that are unknown are left out."""
    report = times.runs[0].report
    figures = {
        "time_sec": times.seconds,
        "video_s": report.duration_s,
        "seconds_per_second": round(times.seconds_per_second, 3),
        "fps": round(times.frames_per_second, 2),
        "peak_host_mb": times.peak_host_mb,
        "frames_synced": report.frames_synced,
        "frames": report.frames,
        "spread": round(times.spread, 3),
        "peak_gpu_mb": times.peak_gpu_mb,
        "server_start_s": times.server_start_s,
    }
    return {name: value for name, value in figures.items() if value is not None}


def plan(pipelines: Sequence[str], samples: Sequence[Sample], gpus: Sequence[Gpu]) -> list[Run]:
    """Return all rows to measure: each pipeline and mode, on each GPU, with each sample."""
    places: list[Gpu | None] = list(gpus) or [None]
    return [
        Run(Key(pipeline, CPU if gpu is None else f"{gpu.index}: {gpu.name}", sample.name, speed), sample, gpu)
        for pipeline in pipelines
        for speed in modes_of(pipeline)
        for gpu in places
        for sample in samples
    ]


def modes_of(pipeline: str) -> tuple[str, ...]:
    """Return the modes that are measured one by one; a pipeline without modes has one."""
    modes = pipeline_named(pipeline).modes
    return ONLY_MODE if modes is None else tuple(modes.kind.schema()["enum"])


def chosen_pipelines(options: argparse.Namespace, passed_on: Sequence[str]) -> list[str]:
    """Return the pipelines that were asked for, or all that can run.

    Raises:
        ValueError: none can run.
    """
    if options.pipelines:
        return list(options.pipelines)
    known, _ = repository_option().parse_known_args(list(passed_on))
    if known.url is not None:
        return [pipeline.name for pipeline in PIPELINES]
    possible = [
        pipeline.name
        for pipeline in PIPELINES
        if not any(missing_networks(known.model_repository, model) for model in pipeline.models)
    ]
    if not possible:
        raise ValueError(f"{known.model_repository}: expected an exported pipeline, got none. Run: make models")
    return possible


def repository_option() -> argparse.ArgumentParser:
    """Return a parser of those options of lipsync that tell which models a job has."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY)
    parser.add_argument("--url")
    return parser


def open_benchmark(folder: Path, conditions: dict[str, Any], *, restart: bool) -> Benchmark:
    """Continue the results in a folder, or start new ones; old ones are renamed, never deleted.

    Raises:
        LipSyncError: the results there were measured under other conditions.
    """
    path = folder / JSON_FILE
    if not path.is_file():
        return Benchmark(conditions)
    old = load_benchmark(path)
    if restart:
        set_aside(folder, old.conditions)
        return Benchmark(conditions)
    check_identity(path, old.conditions, conditions, IDENTITY)
    return old


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split the arguments at --: options of the benchmark, and options of lipsync."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def parse_sample(text: str) -> Sample:
    """Parse NAME=VIDEO,AUDIO."""
    name, equals, files = text.partition("=")
    video, comma, audio = files.partition(",")
    if not (name and equals and video and comma and audio):
        raise argparse.ArgumentTypeError(f"expected NAME=VIDEO,AUDIO, got {text!r}")
    for path in (video, audio):
        if not Path(path).is_file():
            raise argparse.ArgumentTypeError(f"{path}: expected a file, got none")
    return Sample(name, Path(video), Path(audio))


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m perf benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sample",
        action="append",
        type=parse_sample,
        metavar="NAME=VIDEO,AUDIO",
        help="(the demo's)",
    )
    parser.add_argument(
        "--pipelines", nargs="+", choices=[pipeline.name for pipeline in PIPELINES], help="(all that are exported)"
    )
    parser.add_argument("--runs", type=whole_number, default=1, metavar="N", help="runs per row (1)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="(%(default)s)")
    parser.add_argument("--restart", action="store_true", help="start over; old results are renamed, not deleted")
    parser.add_argument("--cores", type=int, help="use only this many CPU cores")
    return parser


def say(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
