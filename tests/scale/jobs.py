"""Jobs that wait as for a GPU, and jobs that do nothing, in place of those that a batch would run.

`python -m tests.scale.jobs waiting 2 batch ...` is the command line whose jobs wait 2 s for their generator; those of
`python -m tests.scale.jobs null batch ...` do nothing. Each command prints its peak memory at its end.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from client.servers.calls import InferRequest
from tests.imitation_triton import OPTIONS, PaintingTriton, imitated_server
from tests.media_clips import tone, write_clip, write_sound

MODULE = "tests.scale.jobs"
WAITING, NULL, JOB = "waiting", "null", "job"
NULL_JOB = ("sh", "-c", """read -r _; echo '{"exit_code": 0, "report": {}, "error": null}'""")
PEAK = "peak resident memory of the command, MB:"
KIB = 1024
MB = 1_000_000
CLIPS = 4  # different ones, so that a job's file is not that of any other
CLIP_FRAMES, SPEECH_S = 12, 0.4
SHARED = ("--if-audio-longer", "cut", "--check", "off", *OPTIONS)


class WaitingTriton(PaintingTriton):
    """Paints after a while, as if a GPU did."""

    def __init__(self, wait_s: float) -> None:
        """Set how long it takes for each request, in seconds."""
        super().__init__()
        self._wait_s = wait_s

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        """Wait, then paint."""
        time.sleep(self._wait_s)
        return super().infer(request)


def write_inputs(folder: Path, *, same: bool = False) -> None:
    """Write the clips and the speech of waiting jobs."""
    for number in range(1 if same else CLIPS):
        write_clip(folder / f"clip{number}.mp4", frames=CLIP_FRAMES + number)
    write_sound(folder / "speech.wav", tone(SPEECH_S))


def write_waiting_jobs(folder: Path, count: int, *, same: bool = False) -> Path:
    """Write a file of waiting jobs; of the same length if they are to be compared with each other."""
    write_inputs(folder, same=same)
    return _write_jobs(folder, count, lambda number: f"clip{0 if same else number % CLIPS}.mp4")


def write_null_jobs(folder: Path, count: int) -> Path:
    """Write a file of jobs that do nothing; their files do not exist."""
    return _write_jobs(folder, count, lambda _: "none.mp4")


def command_with(kind: str, wait_s: float = 0.0) -> list[str]:
    """Return the command line with such jobs, to be followed by `batch`."""
    return [sys.executable, "-m", MODULE, kind, *([str(wait_s)] if kind == WAITING else [])]


def main(arguments: list[str]) -> int:
    """Run the command line, or one of its jobs."""
    kind, *rest = arguments
    if kind == JOB:
        from client.job_process import main as run_job

        with imitated_server(WaitingTriton(float(rest[0]))):
            return run_job()
    command = NULL_JOB
    if kind == WAITING:
        command, rest = (sys.executable, "-m", MODULE, JOB, rest[0]), rest[1:]
    return _command_line(command, rest)


def _command_line(command: tuple[str, ...], arguments: list[str]) -> int:
    from client.job_process import JobRequest
    from client.lipsync import main as lipsync

    JobRequest.command = command
    try:
        return lipsync(arguments)
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / MB
        print(f"{PEAK} {peak:.0f}", file=sys.stderr)


def _write_jobs(folder: Path, count: int, video_of: Callable[[int], str]) -> Path:
    path = folder / "jobs.jsonl"
    with path.open("w") as file:
        for number in range(count):
            files = {"video": video_of(number), "audio": "speech.wav", "output": f"out/{number}.mp4"}
            file.write(json.dumps({key: str(folder / name) for key, name in files.items()}) + "\n")
    (folder / "out").mkdir(exist_ok=True)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
