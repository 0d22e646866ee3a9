"""Spans of a video, its blocks in any order, and samples of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from client.errors import UsageError
from client.media import VideoSource, scan_frames
from client.media.reader import VideoReader
from tests.media_clips import RATE, pattern, shown_index, write_clip


@pytest.mark.parametrize("gop", [1, 5, 250])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi"])
def test_a_span_has_exactly_its_frames(tmp_path: Path, name: str, gop: int) -> None:
    """A span begins with the first frame at or after its start and ends before its end, wherever key frames are."""
    source = VideoSource(write_clip(tmp_path / name, frames=30, options={"g": str(gop), "bf": "0"}), 0.4, 0.8)
    first = list(source.frames())
    assert [shown_index(frame.picture.rgb()) % 24 for frame in first] == [number % 24 for number in range(10, 20)]
    assert first[0].time_s == pytest.approx(0.4, abs=0.001)
    assert [frame.index for frame in first] == list(range(10))
    assert source.frame_estimate == 10
    assert source.warnings == []


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_a_span_that_starts_within_a_gap_starts_there(tmp_path: Path, name: str) -> None:
    """It begins with the frame that is on the screen then, for as long as that stays there; forward and backward."""
    pts = [0, 512, 1024, 25_600, 26_112]  # two frames follow after 2 s
    source = VideoSource(write_clip(tmp_path / name, frames=5, pts=pts, options={"bf": "0"}), 1.0)
    frames = list(source.frames())
    assert [shown_index(frame.picture.rgb()) for frame in frames] == [2, 3, 4]
    assert [frame.index for frame in frames] == [0, 1, 2]
    np.testing.assert_allclose([frame.time_s for frame in frames], [1.0, 2.0, 2.04], atol=1e-3)
    np.testing.assert_allclose([float(frame.duration * source.time_base) for frame in frames][:2], [1, 0.04], atol=2e-3)
    with source.open_reader() as reader:
        assert [shown_index(frame.picture.rgb()) for frame in source.block(0, 2, reader)] == [2, 3]


def test_a_span_that_starts_within_a_long_last_frame_shows_it(tmp_path: Path) -> None:
    """Slides end with a picture that is shown for a while."""
    path = tmp_path / "slides.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast", "qp": "4"})
        stream.width, stream.height = 64, 48
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(pattern(index), "rgb24")
            frame.pts, frame.time_base = 4 * index, Fraction(1)
            container.mux(stream.encode(frame))
        packets = stream.encode(None)
        packets[-1].duration = 4
        container.mux(packets)
    (shown,) = VideoSource(path, 9.0).frames()
    assert shown_index(shown.picture.rgb()) == 2
    with pytest.raises(UsageError, match="expected a time within"):
        list(VideoSource(path, 12.5).frames())


def test_a_span_that_ends_within_a_gap_ends_there(tmp_path: Path) -> None:
    """The last frame of a span is shown to the span's end, not to the next frame 20 seconds later."""
    pts = [0, 2560, 5120, 5120 + 20 * 12_800]
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=4, pts=pts), end=0.8)
    assert [frame.duration for frame in source.frames()] == [2560, 2560, 5120]
    assert source.duration == pytest.approx(0.8)
    with source.open_reader() as reader:
        assert [frame.duration for frame in source.block(1, 3, reader)] == [2560, 5120]


def test_blocks_are_read_again_in_any_order(tmp_path: Path) -> None:
    """Blocks of a span that was read once hold exactly its frames, with the same timestamps."""
    path = write_clip(tmp_path / "clip.mp4", frames=24, options={"g": "7", "bf": "2", "preset": "medium"})
    source = VideoSource(path, 0.12, 0.88)
    frames = list(source.frames())
    with source.open_reader() as reader:
        for first, last in [(12, 19), (5, 12), (0, 5), (18, 19)]:
            block = list(source.block(first, last, reader))
            assert [frame.index for frame in block] == list(range(first, last))
            assert [frame.pts for frame in block] == [frame.pts for frame in frames[first:last]]
            assert [shown_index(frame.picture.rgb()) for frame in block] == list(range(first + 3, last + 3))


def test_a_span_beyond_the_file_fails(tmp_path: Path) -> None:
    """A span without a frame is refused when the file is opened, and the message names the option."""
    path = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match=r"start: expected a time within .*clip\.mp4, got 7 s"):
        VideoSource(path, 7)
    with pytest.raises(UsageError, match=r"end: expected a time after start \(3 s\), got 2 s"):
        VideoSource(path, 3, 2)


def test_a_span_beyond_a_file_of_unknown_length_fails(tmp_path: Path) -> None:
    """Where the file does not say how long it is, its frames do."""
    path = write_clip(tmp_path / "clip.h264")
    assert VideoSource(path).facts.stated_duration_s is None
    assert len(list(VideoSource(path, 0.2).frames())) == 5
    with pytest.raises(UsageError, match=r"start: expected a time within .*clip\.h264, got 900 s"):
        VideoSource(path, 900)


def test_scanning_a_short_clip_spreads_evenly(tmp_path: Path) -> None:
    """A short clip gives at most the wanted number of frames, evenly spaced over all of it."""
    path = write_clip(tmp_path / "clip.mp4", frames=20)
    assert [frame.index for frame in scan_frames(path, max_frames=5)] == [0, 4, 8, 12, 16]
    assert len(list(scan_frames(path, max_frames=50))) == 20
    times = [frame.time_s for frame in scan_frames(path, 0.2, 0.6, max_frames=5)]
    np.testing.assert_allclose(times, [0.2, 0.28, 0.36, 0.44, 0.52])


def decoded_frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    decode = VideoReader.decode

    def counting(self: VideoReader, skip_until: int | None = None):
        for frame in decode(self, skip_until):
            counted.append(1)
            yield frame

    monkeypatch.setattr(VideoReader, "decode", counting)
    return counted


def test_scanning_leaves_frames_that_no_others_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the others are enough, at about equal distances, only these are decoded."""
    path = write_clip(tmp_path / "clip.mp4", frames=80, options={"bf": "3", "b-pyramid": "none", "b-adapt": "0"})
    counted = decoded_frames(monkeypatch)
    frames = list(scan_frames(path, max_frames=10))
    assert len(frames) == 10
    assert len(counted) < 30
    assert np.diff([frame.time_s for frame in frames]) == pytest.approx(0.32, abs=0.17)
    assert [frame.index for frame in frames] == [round(frame.time_s * RATE) for frame in frames]


def test_scanning_a_long_clip_takes_bursts_at_key_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip gives rising bursts over its whole length, and few frames are decoded for that."""
    path = write_clip(tmp_path / "clip.mp4", frames=1000, size=(16, 16), options={"g": "20"})
    counted = decoded_frames(monkeypatch)
    frames = list(scan_frames(path, max_frames=32))
    times = [frame.time_s for frame in frames]
    assert 24 <= len(frames) <= 32
    assert times == sorted(set(times))
    assert times[-1] > 20  # of 40 seconds
    assert len(counted) < 100
    assert [frame.index for frame in frames] == [round(time_s * RATE) for time_s in times]


def test_scanning_without_key_frames_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip with a single key frame gives bursts from its beginning, at a bounded cost."""
    path = write_clip(tmp_path / "clip.mp4", frames=1000, size=(16, 16), options={"g": "9999", "sc_threshold": "0"})
    counted = decoded_frames(monkeypatch)
    times = [frame.time_s for frame in scan_frames(path, max_frames=32)]
    assert 16 <= len(times) <= 32
    assert times == sorted(set(times))
    assert times[-1] > 5
    assert len(counted) < 400
