"""Scores a video by SyncNet: LSE-D, LSE-C and offset by the papers' protocol, with your copy of its weights.

LSE-D (lower is better) is the smallest mean distance between lips and sound over shifts of up to 15 frames of 40 ms.
The offset is the shift where it occurs; positive if the sound is early. LSE-C (higher is better) is how far that
minimum lies below the median. "at 0" is the mean distance without a shift. Compare figures of this command only with
each other: published ones were measured on copies that had been compressed several times.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from client.errors import UsageError, ref
from client.progress import open_progress
from lipsync_core.extras import install_advice
from lipsync_core.syncnet.crops import SMOOTHED_FRAMES
from perf.failures import run_command
from perf.scores.syncnet.tracks import MIN_TRACK

if TYPE_CHECKING:
    from perf.scores.syncnet.meter import TrackScore

NAME = "perf syncnet"
MEANS = ("lse_d", "lse_c", "offset", "distance_at_zero")


def main(argv: Sequence[str] | None = None) -> int:
    """Score a video; returns the exit code."""
    options = build_parser().parse_args(argv)
    return run_command(NAME, lambda: _run(options))


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__)
    parser.add_argument("result", type=Path, help="the video to score")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--weights", type=Path, metavar="FILE", help="syncnet_v2.model")
    weights.add_argument(
        "--synthetic-weights", action="store_true", help="synthetic weights, for tests: the figures mean nothing"
    )
    parser.add_argument(
        "--s3fd", type=Path, metavar="FILE", help="sfd_face.pth, the protocol's own face detector (default: ours)"
    )
    parser.add_argument("--cropped", action="store_true", help="the video is already a face crop, as in LRS")
    parser.add_argument(
        "--min-track",
        type=int,
        default=MIN_TRACK,
        metavar="N",
        help="score faces that are detected in more frames than this (%(default)s)",
    )
    parser.add_argument("--audio", type=Path, metavar="FILE", help="use this audio instead of the video's own")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def as_dict(scores: Sequence[TrackScore]) -> dict[str, object]:
    """Return the scores of all tracks and their unweighted means, for JSON."""
    tracks = [
        {
            "start_s": score.start_s,
            "end_s": score.end_s,
            **dataclasses.asdict(score.published),
            "valid_pairs_only": score.valid_pairs and dataclasses.asdict(score.valid_pairs),
        }
        for score in scores
    ]
    return {"tracks": tracks, "mean": {name: fmean(_figures(scores, name)) for name in MEANS}}


def as_table(scores: Sequence[TrackScore]) -> str:
    """Return a line per track, and one with the unweighted means if there are several."""
    columns = [_figures(scores, name) for name in MEANS]
    names = [f"{score.start_s:.2f} to {score.end_s:.2f} s" for score in scores]
    if len(scores) > 1:
        names.append("mean")
        columns = [[*column, fmean(column)] for column in columns]
    lines = [
        f"{name:20}{lse_d:8.3f}{lse_c:8.3f}{offset:8.3g}{at_zero:8.3f}"
        for name, lse_d, lse_c, offset, at_zero in zip(names, *columns, strict=True)
    ]
    return "\n".join([f"{'face':20}{'LSE-D':>8}{'LSE-C':>8}{'offset':>8}{'at 0':>8}", *lines])


def _run(options: argparse.Namespace) -> None:
    try:
        from perf.scores.syncnet.job import SyncNetJob  # noqa: PLC0415  (torch is heavy, and may be missing)
    except ImportError as error:
        raise UsageError(expected="torch", got=error, advice=install_advice("torch")) from error
    if options.cropped and options.s3fd:
        raise UsageError(
            option="s3fd", expected=f"no {ref('cropped')} beside it", got="both", advice="A face crop needs no detector"
        )
    if options.min_track < SMOOTHED_FRAMES:
        raise UsageError(
            option="min_track",
            expected=f"at least {SMOOTHED_FRAMES}, the number of frames that boxes are smoothed over",
            got=options.min_track,
        )
    job = SyncNetJob(options.result, options.weights, options.s3fd, options.audio)
    with open_progress(quiet=options.json) as progress:
        if options.cropped:
            scores = job.measure_crop(progress)
        else:
            scores = job.measure(options.min_track, options.url, progress)
    print(json.dumps(as_dict(scores), indent=2) if options.json else as_table(scores))
    for line in job.warnings(scores):
        print(f"{NAME}: warning: {line}", file=sys.stderr)


def _figures(scores: Sequence[TrackScore], name: str) -> list[float]:
    return [float(getattr(score.published, name)) for score in scores]


if __name__ == "__main__":
    sys.exit(main())
