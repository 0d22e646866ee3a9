"""How much longer a job takes than a plain transcode of its video: python -m perf transcode VIDEO AUDIO.

Pairs run in turn: FFmpeg's own program transcodes the video at the job's default settings and copies its sound, then
the job lip-syncs it. The ratio is that of the job's seconds, without the start of its server, to FFmpeg's. Other
options go to the command lipsync. The program is in Debian's package ffmpeg.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from client.media import DEFAULT_CRF, DEFAULT_PRESET
from perf.arguments import whole_number
from perf.jobs.timing import RunJob, job_in_child
from perf.machine.conditions import limit_cores, processor_name, usable_cores

FFMPEG = "ffmpeg"


def main(argv: Sequence[str] | None = None) -> int:
    """Time pairs and print each and the median ratio.

    Raises:
        ValueError: there is no ffmpeg, or a run failed.
    """
    parser = argparse.ArgumentParser(prog="python -m perf transcode", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument("--pairs", type=whole_number, default=3, metavar="N", help="number of pairs (%(default)s)")
    parser.add_argument("--cores", type=int, help="use only this many CPU cores")
    options, passed_on = parser.parse_known_args(argv)
    if shutil.which(FFMPEG) is None:
        raise ValueError("expected the program ffmpeg, got none. Install Debian's package ffmpeg")
    limit_cores(options.cores)
    print(f"{processor_name()}, {usable_cores()} cores, {options.pairs} pairs")
    ratios = time_pairs(options.video, job_in_child(options.video, options.audio, passed_on), options.pairs)
    print(f"ratio median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    return 0


def time_pairs(video: Path, run_job: RunJob, count: int) -> list[float]:
    """Time a transcode and a job in turn, and print each pair.

    Returns:
        The job's seconds over the transcode's, one for each pair.
    """
    ratios = []
    for number in range(1, count + 1):
        plain_s, job_s = transcode_seconds(video), run_job().report.seconds
        ratios.append(job_s / plain_s)
        print(f"pair {number}: ffmpeg {plain_s:.2f} s, job {job_s:.2f} s, ratio {ratios[-1]:.2f}", flush=True)
    return ratios


def transcode_seconds(video: Path) -> float:
    """Time one transcode, in seconds.

    Raises:
        ValueError: FFmpeg failed; the message is its last line.
    """
    settings = ["-c:v", "libx264", "-preset", DEFAULT_PRESET, "-crf", str(DEFAULT_CRF), "-c:a", "copy"]
    with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
        command = [FFMPEG, "-v", "error", "-nostdin", "-i", str(video), *settings, f"{folder}/out.mp4"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(f"ffmpeg: {lines[-1]}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
