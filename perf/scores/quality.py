"""Judges a lip-synced video against its source: does the mouth follow the speech, and what became of the picture?

Frames of the same time are compared. "Inside" is the lower face, from the base of the nose down; "outside" is the rest.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from client.errors import UsageError, spelled
from client.media import AudioSource, IfAudioLonger, VideoSource
from client.option import flag
from client.progress import open_progress
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.tracking.faces import LARGEST, parse_face_choice
from client.tracking.finder import MEDIAPIPE
from lipsync_core.extras import install_advice
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.failures import run_command
from perf.scores.mouth_sync import SyncScore
from perf.scores.sync import score_table

if TYPE_CHECKING:
    from perf.scores.picture import Tally
    from perf.scores.quality_meter import Quality

NAME = "perf quality"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a result and print its figures; returns the exit code."""
    options = build_parser().parse_args(argv)
    return run_command(NAME, lambda: _run(options))


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__)
    parser.add_argument("source", type=Path, help="the video or still image before lip-sync")
    parser.add_argument("result", type=Path, help="the video after it, of the same size")
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument("--face", type=parse_face_choice, default=LARGEST, help="which of several faces")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="where in the source the result begins")
    parser.add_argument(
        "--if-audio-longer",
        choices=get_args(IfAudioLonger),
        default="bounce",
        help="how the source was extended for a longer result; cut ends the comparison there (%(default)s)",
    )
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--json", action="store_true", help='print JSON; an infinite PSNR is "inf"')
    return parser


def as_dict(quality: Quality) -> dict[str, object]:
    """Return all figures, for JSON."""
    return {
        "duration_s": quality.duration_s,
        "frames": quality.frames,
        "frames_with_face": quality.frames_with_face,
        "frames_compared": quality.frames_compared,
        "frames_repeated": quality.frames_repeated,
        **{name: _figures(tally) for name, tally in (("outside", quality.outside), ("inside", quality.inside))},
        "flicker": dict(zip(("source", "result"), quality.flicker.means, strict=True)),
        "sync": {"source": _scores(quality.source_sync), "result": _scores(quality.result_sync)},
        "warnings": _warnings(quality),
    }


def as_table(quality: Quality) -> str:
    """Return all figures as text."""
    faces, frames = quality.frames_with_face, quality.frames
    length = f"{quality.duration_s:.2f} s, {frames} frames"
    lines = [f"{length}, {faces} with a face, {quality.frames_compared} compared with the source", ""]
    lines.append(f"{'against the source':24}{'PSNR, dB':>12}{'SSIM':>10}")
    for name, tally in (("outside the mouth", quality.outside), ("inside", quality.inside)):
        lines.append(f"{name:24}{_number(tally.psnr_db, 2):>12}{_number(tally.mean_ssim, 4):>10}")
    before, after = quality.flicker.means
    lines += ["", f"{'flicker, grey levels':24}{'source':>12}{'result':>10}"]
    lines.append(f"{'inside':24}{_number(before, 2):>12}{_number(after, 2):>10}")
    for name, scores in (("source", quality.source_sync), ("result", quality.result_sync)):
        if scores is not None:
            lines += ["", f"the {name}'s mouth and the speech", score_table(scores)]
    return "\n".join(lines)


def _run(options: argparse.Namespace) -> None:
    try:
        from perf.scores.quality_meter import QualityJob  # noqa: PLC0415  (scikit-image may be missing)
    except ImportError as error:
        raise UsageError(expected="scikit-image", got=error, advice=install_advice("perf")) from error
    job = QualityJob(
        VideoSource(options.source, options.start),
        VideoSource(options.result),
        AudioSource(options.audio),
        options.face,
        options.if_audio_longer,
    )
    with (
        open_progress(quiet=options.json) as progress,
        open_server(options.url, DEFAULT_REPOSITORY, (MEDIAPIPE.model,)) as (url, _),
        TritonConnection(url) as connection,
    ):
        quality = job.run(connection, progress)
    print(json.dumps(as_dict(quality), indent=2, allow_nan=False) if options.json else as_table(quality))
    if not options.json:
        for line in _warnings(quality):
            print(f"{NAME}: warning: {line}", file=sys.stderr)


def _warnings(quality: Quality) -> list[str]:
    return [spelled(line, flag) for line in quality.warnings]


def _scores(scores: dict[str, SyncScore] | None) -> dict[str, object] | None:
    return None if scores is None else {measure: asdict(score) for measure, score in scores.items()}


def _figures(tally: Tally) -> dict[str, object]:
    psnr = tally.psnr_db
    return {"psnr_db": "inf" if psnr == math.inf else psnr, "ssim": tally.mean_ssim}


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
