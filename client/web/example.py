"""Makes the example that the page offers to try: `python -m client.web.example FOLDER`.

It is a photograph (NASA, public domain), a sentence that was synthesised for this project, and a few seconds that show
the photograph before and after. The service makes it at its first start, at low priority. The process reads from stdin
how to reach Triton.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from client.errors import LipSyncError
from client.job import Job
from client.media import VideoSource
from client.offer import models_on_server
from client.options import CONTAINER
from client.portrait import portrait
from client.servers.access import ServerAccess
from client.servers.pool import ServerPool
from client.web.job_settings import AUDIO_FILE, VIDEO_FILE, JobSettings, result_file
from client.web.settings import Settings
from client.web.video_preview import jpeg

SPEECH = Path(__file__).parent / "example_speech.ogg"  # the first 5.88 s of tests/data/speech.flac, as Opus
PHOTOGRAPH, VOICE, LOOP = "astronaut.jpg", "sentence.ogg", "before-after.mp4"
PHOTOGRAPH_SIDE, LOOP_SIDE = 540, 240  # pixels
LOOP_S = 3.0
LOOP_FPS = 25
ENCODER = {"preset": "slow", "crf": "26"}
READY_EVERY_S = 1.0
NICENESS = 10  # jobs of people go first
END_GRACE_S = 10.0
logger = logging.getLogger("client.web")


def main() -> int:
    """Make what is missing; returns 1 if the server cannot make it now."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    access = ServerAccess.from_json(sys.stdin.read())
    os.nice(NICENESS)
    try:
        write_inputs(folder)
        write_loop(folder, access)
    except ModuleNotFoundError as error:
        print(f"the page offers no example: {error.name} is not installed", file=sys.stderr)
    except (LipSyncError, OSError) as error:
        print(f"the page's example: {error}", file=sys.stderr)
        return 1
    return 0


def write_inputs(folder: Path) -> None:
    """Write the photograph and the sentence.

    Raises:
        ModuleNotFoundError: scikit-image, which brings the photograph, is not installed.
    """
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(portrait()), "rgb24")
    larger = picture.reformat(width=PHOTOGRAPH_SIDE, height=PHOTOGRAPH_SIDE, interpolation="BICUBIC")
    _write(folder / PHOTOGRAPH, jpeg(larger.to_ndarray(format="rgb24")))
    _write(folder / VOICE, SPEECH.read_bytes())


def write_loop(folder: Path, access: ServerAccess) -> None:
    """Lip-sync the photograph, and write a few seconds of it, before beside after.

    Raises:
        LipSyncError: the server cannot do it.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        making = Path(name)
        shutil.copy(folder / PHOTOGRAPH, making / VIDEO_FILE)
        shutil.copy(folder / VOICE, making / AUDIO_FILE)
        settings = JobSettings()
        with Job(settings.job_options(making)) as job, ServerPool(access) as pool:
            job.run(pool)
        result = VideoSource(making / result_file(settings.choices()[CONTAINER.name]))
        write_before_and_after(
            next(iter(VideoSource(making / VIDEO_FILE).frames())).picture.rgb(), result, making / LOOP
        )
        (making / LOOP).replace(folder / LOOP)


def write_before_and_after(before: np.ndarray, after: VideoSource, path: Path) -> None:
    """Write the first seconds of a video, with a picture to its left, as a small H.264 without sound."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=LOOP_FPS, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = 2 * LOOP_SIDE, LOOP_SIDE, "yuv420p"
        left = _small(before)
        frames = (frame for frame in after.frames() if frame.time_s < LOOP_S)
        for number, frame in enumerate(frames):
            both = np.hstack([left, _small(frame.picture.rgb())])
            encoded = av.VideoFrame.from_ndarray(both, "rgb24").reformat(format="yuv420p")
            encoded.pts, encoded.time_base = number, Fraction(1, LOOP_FPS)
            container.mux(stream.encode(encoded))
        container.mux(stream.encode(None))


def _small(rgb: np.ndarray) -> np.ndarray:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
    return frame.reformat(width=LOOP_SIDE, height=LOOP_SIDE, interpolation="AREA").to_ndarray(format="rgb24")


def _write(path: Path, content: bytes) -> None:
    """Write a file under its name at once and whole."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


@contextmanager
def making_example(settings: Settings, access: ServerAccess) -> Iterator[None]:
    """Make the example in the background, once a server is ready, unless it was made before or is not wanted."""
    if not settings.makes_example or (settings.example_folder / LOOP).is_file():
        yield
        return
    maker = _Maker(settings.example_folder, access)
    maker.start()
    try:
        yield
    finally:
        maker.stop()


class _Maker(threading.Thread):
    """Waits for a server, then runs this module."""

    def __init__(self, folder: Path, access: ServerAccess) -> None:
        super().__init__(name="make the example", daemon=True)
        self._folder, self._access = folder, access
        self._ends = threading.Event()

    def run(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while not self._ends.is_set() and not self._is_ready():
            self._ends.wait(READY_EVERY_S)
        if self._ends.is_set():
            return
        command = [sys.executable, "-m", "client.web.example", str(self._folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        try:
            assert process.stdin is not None
            with process.stdin:
                process.stdin.write(self._access.as_json())
            while process.poll() is None and not self._ends.wait(0.1):
                pass
        finally:
            process.terminate()
            process.wait(END_GRACE_S)

    def stop(self) -> None:
        self._ends.set()
        self.join()

    def _is_ready(self) -> bool:
        try:
            return bool(models_on_server(self._access))
        except LipSyncError:
            return False


if __name__ == "__main__":
    sys.exit(main())
