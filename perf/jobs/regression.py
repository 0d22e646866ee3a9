"""Checks quickly that nothing got much slower, for CI: ratios of times against limits, never absolute times.

The two times of a ratio are measured in turns through one embedded server, so a slower or busier machine changes both.
A ratio beyond its limit is measured a second time before it counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np

from client.demo import SPEECH
from client.job_options import JobOptions
from client.media import AudioSource, VideoSource, VideoWriter
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from perf.arguments import whole_number
from perf.jobs.timing import job_here
from perf.load.sample_data import SampleMaker
from perf.load.sample_values import DEFAULT_FRAME_SIZE, FPS, moving_head
from perf.machine.conditions import limit_cores, machine_conditions

SERVED = ("faces", "mouth_motion", "voice_activity")
CHUNK = 16  # frames per request, as in a job
CLIP_FRAMES = 64
ROUNDS = 7


@dataclass(frozen=True)
class Check:
    """A ratio with its limit.

    Attributes:
        name: What is compared.
        usual: The ratio on two to four busy cores of a server.
        limit: A ratio between that and one twice as bad: noise stays within it, a doubled time does not.
        better: Whether larger or smaller ratios are better.
    """

    name: str
    usual: float
    limit: float
    better: Literal["larger", "smaller"]

    def holds(self, ratio: float) -> bool:
        """Whether a ratio is within its limit."""
        return ratio >= self.limit if self.better == "larger" else ratio <= self.limit

    def verdict(self, ratio: float) -> str:
        """Return what was expected and measured, in one line."""
        bound = "at least" if self.better == "larger" else "at most"
        return f"{self.name}: expected {bound} {self.limit:g} (usually {self.usual:g}), got {ratio:.2f}"


SHARED_MEMORY = Check("shared memory over gRPC, frames per second", 4.0, 2.05, "larger")
BATCH = Check("batch 16 over batch 1, landmarks per second", 1.75, 1.0, "larger")
CONCURRENCY = Check("two requests at once over one, frames per second", 1.25, 0.7, "larger")
FACES = Check("finding faces over decoding and encoding, seconds", 2.0, 3.8, "smaller")
MOUTHS = Check("moving mouths over decoding and encoding, seconds", 2.3, 4.4, "smaller")
JOB = Check("a whole job over decoding and encoding, seconds", 6.8, 13.0, "smaller")

Action = Callable[[], object]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print every ratio; returns 0 if all are within their limits, else 1.

    Raises:
        ServerStartError: the embedded server does not start.
    """
    parser = argparse.ArgumentParser(prog="python -m perf regression", description=__doc__)
    parser.add_argument("--rounds", type=whole_number, default=ROUNDS, metavar="N", help="runs of each (%(default)s)")
    parser.add_argument("--cores", type=int, help="use only this many CPU cores")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    limit_cores(options.cores)
    ratios = measure_ratios(options.rounds)
    if options.json:
        values = [{**vars(check), "ratio": round(r, 3), "holds": check.holds(r)} for check, r in ratios.items()]
        print(json.dumps({"conditions": machine_conditions(), "ratios": values}, indent=2))
    else:
        for check, ratio in ratios.items():
            print(f"{'ok    ' if check.holds(ratio) else 'SLOWER'} {check.verdict(ratio)}")
    return int(not all(check.holds(ratio) for check, ratio in ratios.items()))


def measure_ratios(rounds: int) -> dict[Check, float]:
    """Start a server and measure all ratios; those beyond their limits a second time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lipsync-perf-")))
        server = stack.enter_context(EmbeddedServer(ServerOptions(DEFAULT_REPOSITORY, SERVED)))
        shm = stack.enter_context(TritonConnection(server.url, "shm"))
        messages = stack.enter_context(TritonConnection(server.url, "grpc"))
        pairs = comparisons(shm, messages, folder)
        ratios = {}
        for check, (above, below) in pairs.items():
            ratios[check] = ratio_of_best(above, below, rounds)
            if not check.holds(ratios[check]):
                again = ratio_of_best(above, below, rounds)
                ratios[check] = max(again, ratios[check]) if check.better == "larger" else min(again, ratios[check])
        return ratios


def comparisons(
    shm: TritonConnection, messages: TritonConnection, folder: Path
) -> Mapping[Check, tuple[Action, Action]]:
    """Return for each check the two actions whose times are divided.

    If larger is better, the action that should be slower comes first.
    """
    maker = SampleMaker(DEFAULT_REPOSITORY)
    chunk = maker.inputs(shm, "largest_face", CHUNK)
    faces = maker.inputs(shm, "faces", CHUNK)
    mouths = maker.inputs(shm, "mouth_motion", CHUNK)
    image = maker.inputs(shm, "face_landmarks", 1)
    one, batch = ({name: np.stack([array] * count) for name, array in image.items()} for count in (1, CHUNK))
    clip = write_clip(folder / "clip.mp4")
    recode = recoding(clip, folder / "recoded.mp4")
    job = job_here(
        JobOptions.read(clip, SPEECH, folder / "synced.mp4", {"if_audio_longer": "cut"}), lambda: nullcontext(shm)
    )
    return {
        SHARED_MEMORY: (asking(messages, "largest_face", chunk), asking(shm, "largest_face", chunk)),
        BATCH: (asking(shm, "face_landmarks", one, CHUNK), asking(shm, "face_landmarks", batch)),
        CONCURRENCY: (asking(shm, "faces", faces, 4), asking(shm, "faces", faces, 4, at_once=2)),
        FACES: (asking(shm, "faces", faces, CLIP_FRAMES // CHUNK), recode),
        MOUTHS: (asking(shm, "mouth_motion", mouths, CLIP_FRAMES // CHUNK), recode),
        JOB: (job, recode),
    }


def ratio_of_best(above: Action, below: Action, rounds: int) -> float:
    """Return the ratio of the shortest times of two actions, measured in turns after a warm-up of each."""
    above()
    below()
    times = [(seconds(above), seconds(below)) for _ in range(rounds)]
    return min(pair[0] for pair in times) / min(pair[1] for pair in times)


def seconds(action: Action) -> float:
    """Return the seconds that an action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def asking(
    connection: TritonConnection, model: str, inputs: Mapping[str, np.ndarray], count: int = 1, at_once: int = 1
) -> Action:
    """Return an action that sends a request `count` times, `at_once` at a time."""

    def ask() -> None:
        with ThreadPoolExecutor(at_once) as pool:
            for answer in [pool.submit(connection.infer, InferRequest(model, inputs)) for _ in range(count)]:
                answer.result()

    return ask


def recoding(clip: Path, output: Path) -> Action:
    """Return an action that decodes a clip and encodes it with the audio again, as a job does."""

    def run() -> None:
        video = VideoSource(clip)
        writer = VideoWriter(output, video, AudioSource(SPEECH), cut_audio=True)
        try:
            for frame in video.frames():
                writer.write(frame.picture, frame.pts, frame.duration)
            writer.close()
        finally:
            writer.abort()

    return run


def write_clip(path: Path) -> Path:
    """Write a video of the moving head and return its path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = DEFAULT_FRAME_SIZE
        stream.pix_fmt = "yuv420p"
        for picture in moving_head(CLIP_FRAMES, DEFAULT_FRAME_SIZE):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    sys.exit(main())
