"""Makes what every browser shows of a video: `python -m client.web.video_preview poster|proxy FILE OUTPUT`.

A poster is a JPEG of the first picture, a proxy a small H.264 without sound. It is a process of its own, so that a file
that was made to use up memory or time ends this process and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import resource
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Literal

import av
import numpy as np

from client.errors import LipSyncError
from client.media import VideoSource
from client.web.problem_kinds import UNREADABLE_MEDIA
from client.web.problems import ProblemError

Kind = Literal["poster", "proxy"]
MAX_MEMORY_BYTES = 4 << 30  # address space
LONG_SIDE = 640  # pixels
PROXY_S = 300.0  # a proxy shows no more of a long video
TIMEOUT_S = 240.0
TICK = Fraction(1, 1000)  # seconds
ENCODER = {"preset": "ultrafast", "crf": "26", "g": "25"}  # many key frames, to jump about quickly
_making = asyncio.Semaphore(1)


def main() -> int:
    """Make one file; returns 1 if the video cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("poster", "proxy"))
    parser.add_argument("video", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        if options.kind == "poster":
            options.output.write_bytes(jpeg(next(_pictures(options.video))[1]))
        else:
            write_proxy(options.video, options.output)
    except (LipSyncError, av.FFmpegError, StopIteration) as error:
        print(f"preview of a video: {error}", file=sys.stderr)
        return 1
    return 0


def write_proxy(video: Path, output: Path) -> None:
    """Write a small H.264 of a video's pictures at their times.

    Raises:
        LipSyncError: the video cannot be used.
    """
    with av.open(str(output), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=30, options=ENCODER)
        for number, (time_s, rgb) in enumerate(takewhile(lambda timed: timed[0] < PROXY_S, _pictures(video))):
            if number == 0:
                stream.height, stream.width = rgb.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = TICK
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time_s / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def jpeg(rgb: np.ndarray) -> bytes:
    """Return a picture as a JPEG."""
    file = io.BytesIO()
    with av.open(file, "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=1, options={"qscale": "4"})
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


def even(rgb: np.ndarray) -> np.ndarray:
    """Cut a picture to even sides, which encoders need."""
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    return np.ascontiguousarray(rgb[:height, :width])


def _pictures(video: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Yield time and small picture of each frame."""
    for frame in VideoSource(video).frames():
        yield frame.time_s, even(frame.picture.rgb(long_side=LONG_SIDE))


async def make_preview(kind: Kind, video: Path, output: Path) -> None:
    """Run this module, unless its output is there already; one at a time.

    Raises:
        ProblemError: 422, the video cannot be shown.
    """
    async with _making:
        if output.exists():
            return
        part = output.with_suffix(".part")
        command = [sys.executable, "-m", "client.web.video_preview", kind, str(video), str(part)]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            part.unlink(missing_ok=True)
            people = "This video cannot be shown here."
            raise ProblemError(UNREADABLE_MEDIA, expected="a video that can be decoded", got="another", people=people)
        part.replace(output)


if __name__ == "__main__":
    sys.exit(main())
