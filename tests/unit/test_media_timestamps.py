"""Timestamps that are missing, repeated, or jump; rates and frames that are shown for long."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from client.media import VideoSource
from client.media.reader import RisingTimestamps
from tests.media_clips import RATE, copy_video, frame_times, shown_index, write_clip


def indices(source: VideoSource) -> list[int]:
    return [shown_index(frame.picture.rgb()) for frame in source.frames()]


def test_slow_time_lapses_keep_their_rate(tmp_path: Path) -> None:
    """Frames that are shown for half a minute each are one in half a minute, not 25 per second."""
    path = write_clip(tmp_path / "clip.mp4", frames=20, pts=[i * 30 * 12_800 for i in range(20)])
    assert VideoSource(path).rate == pytest.approx(1 / 30, rel=0.06)  # the last frame's length is anyone's guess


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.webm", "out.avi", "out.flv", "out.ts"])
def test_slow_time_lapses_are_written_at_their_rate(tmp_path: Path, name: str) -> None:
    """A frame every 20 seconds: each at its time, the first one at once, and the file says how slow it is."""
    clip = write_clip(tmp_path / "clip.mp4", frames=20, pts=[i * 20 * 12_800 for i in range(20)])
    assert copy_video(VideoSource(clip), tmp_path / name) == []
    if name != "out.avi":  # it has no timestamps
        np.testing.assert_allclose(frame_times(tmp_path / name), np.arange(20) * 20, atol=0.1)
    if name != "out.ts":  # these state no rate
        assert VideoSource(tmp_path / name).rate == pytest.approx(1 / 20, rel=0.06)


def test_raw_streams_without_timestamps_get_even_ones(tmp_path: Path) -> None:
    """A bare H.264 stream plays evenly at its rate, again and again, and says that timestamps were missing."""
    path = write_clip(tmp_path / "clip.h264", frames=10, options={"bf": "0"})
    source = VideoSource(path)
    for _ in range(2):
        times = [frame.time_s for frame in source.frames()]
        np.testing.assert_allclose(np.diff(times), 1 / RATE, atol=1e-4)
    with source.open_reader() as reader:
        assert [shown_index(frame.picture.rgb()) for frame in source.block(4, 8, reader)] == [4, 5, 6, 7]
    assert any("timestamps" in line for line in source.warnings)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 10, 10, 30, None, 50, 45, 70], [0, 10, 20, 30, 40, 50, 60, 70]),
        ([0, 0, 0, 0, 0, 50, 60], [0, 10, 20, 30, 40, 50, 60]),
        ([0, 10, 10, 20, 30, 40], [0, 10, 20, 25, 30, 40]),  # one frame too many: the next ones catch up
    ],
)
def test_timestamps_are_repaired(given: list[int | None], expected: list[int]) -> None:
    """Missing, repeated and falling timestamps are replaced by ones a frame apart; good ones pass."""
    check = RisingTimestamps(step=10, jump_back=100, jump_ahead=1000)
    assert [check.next(pts, 0) for pts in given] == expected
    assert check.repaired == sum(pts != shown for pts, shown in zip(given, expected, strict=True))
    assert check.jumps == 0


def test_jumps_begin_a_new_count() -> None:
    """Behind a jump of the clock, frames follow without a gap and keep their distances; a long frame stays long."""
    check = RisingTimestamps(step=10, jump_back=100, jump_ahead=1000)
    given = [500, 510, 5, 15, 915, 8000, 8007, 8020]
    assert [check.next(pts, 0) for pts in given] == [500, 510, 520, 530, 1430, 1440, 1447, 1460]
    assert (check.repaired, check.jumps) == (0, 2)


def jumping_clip(folder: Path, seconds: int) -> Path:
    """Join two clips of ten frames into a transport stream whose clock jumps ahead between them."""
    joined = folder / "joined.ts"
    parts = [write_clip(folder / f"{first}.ts", pts=[first * 90_000 + 3600 * i for i in range(10)], options={"bf": "0"},
                        time_base=Fraction(1, 90_000)) for first in (0, seconds)]  # fmt: skip
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    return joined


def test_a_transport_stream_whose_clock_jumps_is_joined(tmp_path: Path) -> None:
    """A jump of an hour between two recordings is no hour of still picture, with a span's start before it or behind."""
    path = jumping_clip(tmp_path, 3600)
    source = VideoSource(path)
    frames = list(source.frames())
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(20) / RATE, atol=1e-4)
    assert "joined.ts: the clock of its timestamps jumps; the parts were joined without gaps" in source.warnings
    with source.open_reader() as reader:
        assert [shown_index(frame.picture.rgb()) for frame in source.block(8, 12, reader)] == [8, 9, 0, 1]
    span = VideoSource(path, 0.48, 0.64)
    assert indices(span) == [2, 3, 4, 5]
    assert indices(VideoSource(path, 0.2, 0.48)) == [5, 6, 7, 8, 9, 0, 1]


def test_a_frame_that_is_shown_for_long_stays(tmp_path: Path) -> None:
    """Outside MPEG streams a gap of a minute is a frame that is shown for a minute."""
    path = write_clip(tmp_path / "clip.mp4", frames=3, pts=[0, 512, 512 + 60 * 12_800])
    assert [frame.time_s for frame in VideoSource(path).frames()] == pytest.approx([0, 0.04, 60.04])
