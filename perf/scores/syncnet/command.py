"""SyncNet's LSE-D, LSE-C and offset of a video, by the papers' protocol, with your copy of its weights.

LSE-D (lower is better) is the least mean distance of lips and sound over shifts of up to 15 frames of 40 ms, the offset
is where it lies (positive: the sound is early), and LSE-C (higher is better) is how far it stands out. "at 0" is the
mean distance without a shift. Compare figures of this command with each other: the published ones went through
several lossy copies.
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

from client.errors import UsageError
from client.progress import open_progress
from perf.failures import run_command
from perf.scores.syncnet.tracks import MIN_TRACK, SMOOTHED_FRAMES

if TYPE_CHECKING:
    from perf.scores.syncnet.meter import TrackScore

NAME = "perf syncnet"
INSTALL_HINT = "Install it with: pip install 'lipsync-triton[torch]'"
MEANS = ("lse_d", "lse_c", "offset", "distance_at_zero")


def main(argv: Sequence[str] | None = None) -> int:
    """Score a video; returns the exit code."""
    options = build_parser().parse_args(argv)
    return run_command(NAME, lambda: _run(options))


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__)
    parser.add_argument("result", type=Path, help="the video to judge")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--weights", type=Path, metavar="FILE", help="syncnet_v2.model")
    weights.add_argument(
        "--synthetic-weights", action="store_true", help="made-up weights, for tests: the figures say nothing"
    )
    parser.add_argument(
        "--s3fd", type=Path, metavar="FILE", help="sfd_face.pth: the protocol's own face detector (default: ours)"
    )
    parser.add_argument("--cropped", action="store_true", help="the video is a face crop already, as in LRS")
    parser.add_argument(
        "--min-track",
        type=int,
        default=MIN_TRACK,
        metavar="N",
        help="judge faces seen in more frames (%(default)s)",
    )
    parser.add_argument("--audio", type=Path, metavar="FILE", help="compare with this sound instead of the video's own")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton instead of one of our own")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def as_dict(scores: Sequence[TrackScore]) -> dict[str, object]:
    """Return the tracks' figures and their plain means, for JSON."""
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
    """Return a line per track, and their plain mean where there are several."""
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
        raise UsageError(f"expected torch, got {error}. {INSTALL_HINT}") from error
    if options.cropped and options.s3fd:
        raise UsageError("--s3fd: expected no --cropped beside it, got both. A face crop needs no detector")
    if options.min_track < SMOOTHED_FRAMES:
        raise UsageError(
            f"--min-track: expected at least {SMOOTHED_FRAMES}, which boxes are smoothed over, got {options.min_track}"
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
