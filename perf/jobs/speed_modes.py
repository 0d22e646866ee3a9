"""What LatentSync's speed modes save, and how far each is from `exact` with the same seed: python -m perf speed-modes.

Each mode lip-syncs the same clip through one server, encoded losslessly. Only the mouth region is compared. With
synthetic weights the distances compare the modes numerically and say nothing about visible quality.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.chunks import IN_FLIGHT, chunk_frames, region_around
from client.flow import batched, ordered_map
from client.job_options import JobOptions
from client.media import SourceFrame, VideoSource, relative_to
from client.options import END, START
from client.pipelines.latentsync import LATENTSYNC
from client.report import Report, StageClock
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.tracking.faces import LARGEST
from client.tracking.finder import FaceFinder, follow
from client.tracking.follow import Observation
from client.tracking.landmarks import face_extent
from lipsync_core.latentsync.options import DEFAULT_SEED, RESOLUTIONS, SPEEDS
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.jobs.timing import job_here, time_job
from perf.scores.picture import Tally, compare, mouth_region

EXACT = SPEEDS[0]


@dataclass(frozen=True)
class SpeedFigures:
    """One speed mode: the report of its job, and its distance from `exact` in the mouth region."""

    report: Report
    distance: Tally


def main(argv: Sequence[str] | None = None) -> int:
    """Run every speed mode and print a line for each."""
    options = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder, ExitStack() as stack:
        jobs = {speed: _job(options, speed, Path(folder)) for speed in SPEEDS}
        models = jobs[EXACT].needed_models
        url, _ = stack.enter_context(open_server(options.url, options.model_repository, models))
        connection = stack.enter_context(TritonConnection(url))
        print(as_table(measure(jobs, connection)))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m perf speed-modes", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument("--end", type=float, default=2.0, metavar="S", help="end of the clip, in seconds (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="random seed (%(default)s)")
    parser.add_argument("--resolution", type=int, choices=RESOLUTIONS.values(), help="edge of the face, in pixels")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    return parser


def measure(jobs: Mapping[str, JobOptions], connection: TritonConnection) -> dict[str, SpeedFigures]:
    """Run a job per speed mode, and compare its frames with those of `exact`.

    One job is run before them, since the first one pays for what a server does only once.

    Raises:
        LipSyncError: a job fails.
    """
    reports: dict[str, Report] = {}
    for speed, job in jobs.items():
        times = time_job(job_here(job, lambda: nullcontext(connection)), count=1, warm_ups=not reports)
        reports[speed] = times.middle.report
    distances = {speed: Tally() for speed in jobs}
    outputs = {speed: job.output for speed, job in jobs.items()}
    for mouth, pictures in _mouths(jobs[EXACT], outputs, connection):
        for speed, picture in pictures.items():
            distances[speed].add(compare(pictures[EXACT], picture, mouth)[1])
    return {speed: SpeedFigures(reports[speed], distances[speed]) for speed in jobs}


def as_table(figures: Mapping[str, SpeedFigures]) -> str:
    """Return one line per speed mode."""
    lines = [f"{'speed':10}{'seconds per second':>20}{'times exact':>13}{'PSNR, dB':>10}{'SSIM':>8}"]
    exact = figures[EXACT].report.realtime_factor
    for speed, figure in figures.items():
        psnr, ssim = figure.distance.psnr_db, figure.distance.mean_ssim
        factor = figure.report.realtime_factor
        far = "-" if psnr is None or ssim is None else f"{psnr:10.2f}{ssim:8.4f}"
        lines.append(f"{speed:10}{factor:20.2f}{exact / factor:13.2f}{far:>18}")
    return "\n".join(lines)


def _job(options: argparse.Namespace, speed: str, folder: Path) -> JobOptions:
    given = {
        "model": LATENTSYNC.name,
        "speed": speed,
        "seed": options.seed,
        "resolution": options.resolution,
        "end": options.end,
        "if_audio_longer": "cut",
        "in_silence": "model",
        "lossless": True,
        "resume": False,
    }
    return JobOptions.read(options.video, options.audio, folder / f"{speed}.mkv", given)


def _mouths(
    job: JobOptions, outputs: Mapping[str, Path], connection: TritonConnection
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yield the mouth region of each frame, bool [h, w], and the result of each speed mode, uint8 RGB [h, w, 3].

    Faces are found in the source video.
    """
    results = [VideoSource(path).frames() for path in outputs.values()]
    for observed, *drawn in zip(_faces(job, connection), *results, strict=True):
        landmarks = None if observed.face is None else observed.face.landmarks
        region = None if landmarks is None else region_around(face_extent(landmarks[None]), observed.frame.picture)
        if landmarks is None or region is None:
            continue
        pictures = [frame.picture.rgb(region) for frame in drawn]
        height, width = pictures[0].shape[:2]
        yield mouth_region([relative_to(region, landmarks)], height, width), dict(zip(outputs, pictures, strict=True))


def _faces(job: JobOptions, connection: TritonConnection) -> Iterator[Observation[SourceFrame]]:
    source = VideoSource(job.video, job.values[START], job.values[END])
    finder = FaceFinder(connection, StageClock())
    windows = batched(source.frames(), chunk_frames(source.frame_bytes))
    with closing(ordered_map(finder.find, windows, IN_FLIGHT)) as found:
        yield from follow((frame for window in found for frame in window), LARGEST)


if __name__ == "__main__":
    sys.exit(main())
