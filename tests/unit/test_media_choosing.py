"""Which of several videos and sounds in a file is meant."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from client.media import AudioSource, VideoSource
from tests.media_clips import pattern, tone

Video = tuple[int, int, int]  # width, frames, disposition
NORMAL, DEFAULT = 0, int(Disposition.default)


def write_videos(path: Path, videos: Sequence[Video]) -> Path:
    """Write one stream for each video, square, frame by frame."""
    with av.open(str(path), "w") as container:
        streams = []
        for width, _, disposition in videos:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = width, width, "yuv420p"
            stream.disposition = Disposition(disposition)
            streams.append(stream)
        for stream, (width, frames, _) in zip(streams, videos, strict=True):
            for index in range(frames):
                frame = av.VideoFrame.from_ndarray(pattern(index, width, width), "rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("videos", "width"),
    [
        ([(64, 5, NORMAL), (192, 5, NORMAL)], 192),  # mp4 makes the first one the default
        ([(192, 5, NORMAL), (64, 5, NORMAL)], 192),
        ([(64, 5, DEFAULT), (192, 5, NORMAL)], 192),  # a thumbnail, whatever its flags
    ],
)
def test_the_video_is_chosen_and_not_its_thumbnail(
    tmp_path: Path, suffix: str, videos: Sequence[Video], width: int
) -> None:
    """Of two videos the much larger one is meant, wherever it stands."""
    source = VideoSource(write_videos(tmp_path / f"clip{suffix}", videos))
    assert source.width == width
    assert [frame.picture.width for frame in source.frames()] == [width] * 5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_default_video_is_chosen(tmp_path: Path, suffix: str) -> None:
    """Of two videos of about the same size the default one is meant."""
    path = write_videos(tmp_path / f"clip{suffix}", [(128, 5, NORMAL), (96, 5, DEFAULT)])
    assert VideoSource(path).width == 96


def test_a_moving_video_is_chosen_and_not_a_picture(tmp_path: Path) -> None:
    """A poster that is stored as a video of one frame is not what is lip-synced."""
    path = write_videos(tmp_path / "clip.mp4", [(256, 1, DEFAULT), (96, 5, NORMAL)])
    assert VideoSource(path).width == 96


@pytest.mark.parametrize(
    ("dispositions", "chosen"),
    [
        ((NORMAL, NORMAL), 0),
        ((NORMAL, DEFAULT), 1),
        ((int(Disposition.visual_impaired | Disposition.default), NORMAL), 1),
        ((int(Disposition.comment), NORMAL), 1),
    ],
)
def test_the_default_sound_is_chosen(tmp_path: Path, dispositions: tuple[int, int], chosen: int) -> None:
    """Of several sounds the default one is meant; a commentary or an audio description is not."""
    path = tmp_path / "sounds.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in dispositions]
        for stream, disposition in zip(streams, dispositions, strict=True):
            stream.disposition = Disposition(disposition)
        for number, stream in enumerate(streams):
            samples = (tone(0.5) * (0.2 + 0.6 * number) * 30_000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
    loudest = np.abs(AudioSource(path).window(0, 8000)).max()
    assert (loudest > 0.2) == bool(chosen)
