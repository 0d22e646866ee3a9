"""The corpus: good media, and the same damaged or made odd, all generated; every function gives the file's path."""

from __future__ import annotations

import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

from tests.media_clips import tone, write_sound
from tests.server.clips import SPEECH, swaying_head, write_video, write_wave

Make = Callable[[Path], Path]
FRAMES = 40
FLIPPED_BITS = 5
HUGE = 100_000  # pixels
HOUR_S = 3600


@cache
def head_frames(count: int = FRAMES) -> tuple[np.ndarray, ...]:
    """Return a head that sways."""
    return tuple(swaying_head(count))


def clip(suffix: str = ".mp4", *, frames: int = FRAMES, codec: str = "libx264", pix_fmt: str = "yuv420p") -> Make:
    """Make a good video."""

    def make(folder: Path) -> Path:
        return write_video(folder / f"video{suffix}", head_frames()[:frames], codec=codec, pix_fmt=pix_fmt)

    return make


def close_up(width: int, height: int, frames: int = FRAMES) -> Make:
    """Make a video whose face fills the picture."""

    def make(folder: Path) -> Path:
        heads = [cv2.resize(head, (width, height)) for head in head_frames()[:frames]]
        return write_video(folder / "video.mp4", heads)

    return make


def speech(folder: Path) -> Path:
    """Give the project's synthesised speech."""
    return Path(shutil.copy(SPEECH, folder / "speech.flac"))


def sound(samples: Callable[[], np.ndarray]) -> Make:
    """Make a speech of these samples, float32 [S] of 16 kHz."""
    return lambda folder: write_wave(folder / "speech.wav", samples())


def eight_channels(folder: Path) -> Path:
    """Write a tone in eight channels."""
    return write_sound(folder / "speech.wav", np.tile(tone(1.5, 48_000), (8, 1)), rate=48_000, layout="7.1")


def truncated(make: Make, part: float) -> Make:
    """Keep only the beginning of a file."""

    def cut(folder: Path) -> Path:
        path = make(folder)
        os.truncate(path, round(path.stat().st_size * part))
        return path

    return cut


def flipped(make: Make, seed: int) -> Make:
    """Flip bits all over a file, always the same for one seed."""

    def flip(folder: Path) -> Path:
        path = make(folder)
        content, chance = bytearray(path.read_bytes()), random.Random(seed)
        for _ in range(FLIPPED_BITS):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        return path

    return flip


def renamed(make: Make, name: str) -> Make:
    """Give a file another name."""
    return lambda folder: make(folder).rename(folder / name)


def content(name: str, data: bytes) -> Make:
    """Write a file of these bytes."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    return write


def folder_for_a_file(folder: Path) -> Path:
    """Make a folder where a file is expected."""
    path = folder / "video.mp4"
    path.mkdir()
    return path


def pipe_for_a_file(folder: Path) -> Path:
    """Make a named pipe that nobody writes to."""
    path = folder / "video.mp4"
    os.mkfifo(path)
    return path


def png(width: int, height: int, pixels: bytes) -> bytes:
    """Return a PNG of one bit per pixel; the pixels need not be as many as its header promises."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def huge_png() -> bytes:
    """Return a PNG whose header promises far more pixels than anyone has memory for."""
    return png(HUGE, HUGE, bytes(1000))


def large_png(folder: Path) -> Path:
    """Write a whole PNG of 16000x16000, which takes a few kilobytes, and gigabytes of memory once decoded."""
    size = 16_000
    return content("video.png", png(size, size, bytes((1 + size // 8) * size)))(folder)


def huge_y4m() -> bytes:
    """Return a raw video whose header promises as much."""
    return f"YUV4MPEG2 W{HUGE} H{HUGE} F25:1 C420jpeg\nFRAME\n".encode() + bytes(1000)


def without_frames(folder: Path) -> Path:
    """Write a video that has a stream, and no frame in it."""
    path = folder / "video.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        container.start_encoding()
    return path


def timed(times: Sequence[int], rate: int = 1000) -> Make:
    """Make a video whose frames are shown at these times, in units of 1 / rate seconds."""

    def make(folder: Path) -> Path:
        path = folder / "video.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "10", "bf": "0"})
            stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
            stream.codec_context.time_base = Fraction(1, rate)
            for rgb, pts in zip(head_frames(), times, strict=False):
                frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = pts, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


def joined_with_a_jump(folder: Path) -> Path:
    """Join two recordings into a transport stream whose clock jumps ahead by an hour between them."""
    path = folder / "video.ts"
    for start_s in (0, HOUR_S):
        part = folder / "part.ts"
        with av.open(str(part), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "10", "bf": "0"})
            stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
            for index, rgb in enumerate(head_frames()[: FRAMES // 2]):
                frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = 25 * start_s + index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with path.open("ab") as joined:
            joined.write(part.read_bytes())
        part.unlink()
    return path


def odd_size(folder: Path) -> Path:
    """Write a video of odd width and height."""
    return write_video(
        folder / "video.mkv", [rgb[:253, :251] for rgb in head_frames()], codec="ffv1", pix_fmt="yuv444p"
    )


def sound_without_a_picture(folder: Path) -> Path:
    """Write a speech under a video's name."""
    return write_wave(folder / "video.wav", tone(1.0))


def concat_of(make: Make) -> Make:
    """Make a list for FFmpeg's concat, of a good video beside it."""
    return lambda folder: content("video.mp4", f"ffconcat version 1.0\nfile '{make(folder).name}'\n".encode())(folder)


def playlist_of(target: str) -> Make:
    """Make an HLS playlist of one address or file."""
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
    return content("video.m3u8", text.encode())


def session_description(folder: Path) -> Path:
    """Write an SDP file, which would have FFmpeg listen on the network."""
    origin = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    text = f"{origin}m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    return content("video.sdp", text.encode())(folder)
