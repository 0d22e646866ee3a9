"""The output's timeline: how a video fills the time of a longer or shorter speech."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from client.media import (
    TimelineFrame,
    VideoSource,
    at_rate,
    estimate_frames,
    output_time_base,
    stop_as_original,
    timeline,
)
from client.media.frame_stack import FrameStack
from client.media.picture import Picture
from client.media.pixels import plane_array
from client.media.reader import VideoReader
from client.media.source import SourceFrame
from tests.media_clips import RATE, write_clip

UNEVEN = [0, 512, 2048, 2560, 5120, 5632]  # ticks


def clip(folder: Path, frames: int = 6, pts: Sequence[int] | None = None, **options: object) -> VideoSource:
    return VideoSource(write_clip(folder / "clip.mp4", frames=frames, pts=pts, **options))  # type: ignore[arg-type]


def check_continuous(frames: list[TimelineFrame]) -> None:
    """Every frame begins where the one before ends, from 0 on."""
    assert frames[0].pts == 0
    ends = [frame.pts + frame.duration for frame in frames]
    assert [frame.pts for frame in frames[1:]] == ends[:-1]


def shown(frames: list[TimelineFrame]) -> list[int]:
    """What each frame shows, told by its pixels: the clip gets bluer with every frame."""
    blue = [float(np.median(frame.picture.rgb()[..., 2])) for frame in frames]
    return [round((level - 60) / 8) for level in blue]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("bounce", [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2, 3]),
        ("loop", [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1]),
        ("hold", [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5]),
        ("cut", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_longer_speech_is_filled(tmp_path: Path, mode: str, expected: list[int]) -> None:
    """A clip shorter than its audio is bounced, looped, held or ends; indices, pixels and times agree."""
    source = clip(tmp_path)
    frames = list(timeline(source, 14 / RATE, mode))
    assert [frame.index for frame in frames] == expected
    assert shown(frames) == expected
    check_continuous(frames)
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(len(frames)) / RATE)
    assert estimate_frames(source, 14 / RATE, mode, "keep") == len(frames)


@pytest.mark.parametrize(("mode", "count"), [("keep", 6), ("cut", 3)])
def test_a_shorter_speech_keeps_or_cuts_the_rest(tmp_path: Path, mode: str, count: int) -> None:
    """A clip longer than its audio goes on or ends with it."""
    source = clip(tmp_path)
    assert [frame.index for frame in timeline(source, 0.12, "bounce", mode)] == list(range(count))
    assert estimate_frames(source, 0.12, "bounce", mode) == count


def test_a_frame_that_begins_before_the_speech_ends_is_shown(tmp_path: Path) -> None:
    """The last frame may outlast the speech, so that there is a picture for all of it."""
    assert len(list(timeline(clip(tmp_path), 0.121, "bounce", "cut"))) == 4
    assert len(list(timeline(clip(tmp_path), 0.281, "loop"))) == 8


@pytest.mark.parametrize(
    ("end_s", "longer", "shorter", "expected"),
    [
        (0.5, "original", "keep", [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0, 0, 1]),  # the first frame at 0.52 s
        (0.52, "original", "original", [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0, 0, 1]),
        (0.16, "original", "keep", [0, 1, 2, 3, 4, 5]),
        (0.2, "original", "original", [0, 1, 2, 3, 4, 5]),
        (0.21, "original", "original", [0, 1, 2, 3, 4, 5, 5]),
        (0.12, "bounce", "original", [0, 1, 2, 3]),
        (0.5, "cut", "original", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_originals_length_is_kept(
    tmp_path: Path, end_s: float, longer: str, shorter: str, expected: list[int]
) -> None:
    """The first frame at its end is the last one; both frames at a turn are shown twice."""
    source = clip(tmp_path)
    frames = list(stop_as_original(timeline(source, 0.1, longer, shorter), end_s, shorter))
    assert [frame.index for frame in frames] == expected
    assert shown(frames) == expected
    check_continuous(frames)
    assert estimate_frames(source, 0.1, longer, shorter, end_s) == len(frames)


@pytest.mark.parametrize("rate", [10, 25, 60])
def test_the_originals_length_is_kept_at_another_rate(tmp_path: Path, rate: int) -> None:
    """One frame of the output, not of the source, lies at its end."""
    source = clip(tmp_path, pts=UNEVEN)
    shown_at_rate = at_rate(timeline(source, 0.1, "original", "original"), Fraction(rate))
    times = [frame.time_s for frame in stop_as_original(shown_at_rate, 1.13, "original")]
    assert times[-2] < 1.13 <= times[-1]
    np.testing.assert_allclose(times, np.arange(len(times)) / rate)


def test_frames_shown_twice_keep_uneven_durations(tmp_path: Path) -> None:
    """Played backwards, the clip is its own mirror image."""
    forwards = list(timeline(clip(tmp_path, pts=UNEVEN), 0.01, "cut"))
    frames = list(islice(timeline(clip(tmp_path, pts=UNEVEN), 100.0, "original"), 18))
    check_continuous(frames)
    durations = [frame.duration for frame in forwards]
    assert [frame.duration for frame in frames] == [*durations, *durations[::-1], *durations]


def test_bouncing_mirrors_uneven_durations(tmp_path: Path) -> None:
    """Played backwards, the steps of a variable rate come in reverse."""
    frames = list(islice(timeline(clip(tmp_path, pts=UNEVEN), 100.0, "bounce"), 16))
    check_continuous(frames)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5]
    steps = np.diff(UNEVEN).tolist()
    durations = [frame.duration for frame in frames]
    assert durations[:5] == steps
    assert durations[6:10] == steps[-2::-1]  # from frame 4 back to frame 0
    assert durations[10:15] == steps


@pytest.mark.parametrize("disk", [True, False])
def test_bouncing_reads_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: bool) -> None:
    """A clip with a single key frame is played backwards block by block, with a temporary file or without."""
    source = clip(tmp_path, frames=40, options={"g": "999", "bf": "2", "preset": "medium", "sc_threshold": "0"})
    sizes: list[int] = []
    block = VideoSource.block

    def measured(self: VideoSource, first: int, last: int, reader: VideoReader) -> Iterator[SourceFrame]:
        sizes.append(last - first)
        return block(self, first, last, reader)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoSource, "block", measured)
    monkeypatch.setattr("client.media.frame_stack.MAX_FRAMES", 11)
    if not disk:
        monkeypatch.setattr(os, "posix_fallocate", no_room)
    frames = list(timeline(source, 79 / RATE, "bounce"))
    assert [frame.index for frame in frames] == [*range(40), *range(38, -1, -1)]
    assert [level % 24 for level in shown(frames)] == [frame.index % 24 for frame in frames]
    assert max(sizes) == (11 if disk else 8)


@pytest.mark.parametrize("name", ["clip.h264", "clip.hevc", "joined.ts"])
def test_bouncing_decodes_each_frame_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Files that cannot be sought by time are played backwards from the key frame before each block."""
    options = {"g": "4", "bf": "2", "preset": "medium"}
    if name == "clip.hevc":
        options = {"preset": "medium", "x265-params": "log-level=none:qp=4:pools=1:keyint=4:min-keyint=4:bframes=2"}
    codec = "libx265" if name == "clip.hevc" else "libx264"
    path = write_clip(tmp_path / name.replace("joined", "part"), frames=48, codec=codec, options=options)
    if name == "joined.ts":  # the clock starts again in its middle
        path = tmp_path / name
        path.write_bytes((tmp_path / "part.ts").read_bytes() * 2)
    source, decoded = VideoSource(path), 0
    count = sum(1 for _ in source.frames())
    decode = VideoReader.decode

    def counted(self: VideoReader, *args: int, **options: int) -> Iterator[av.VideoFrame]:
        nonlocal decoded
        for frame in decode(self, *args, **options):
            decoded += 1
            yield frame

    monkeypatch.setattr(VideoReader, "decode", counted)
    monkeypatch.setattr("client.media.frame_stack.MAX_FRAMES", 8)
    frames = list(islice(timeline(source, 100.0, "bounce"), 2 * count - 1))
    assert [frame.index for frame in frames] == [*range(count), *range(count - 2, -1, -1)]
    assert [level % 24 for level in shown(frames)] == [frame.index % 24 for frame in frames]
    assert decoded <= 3 * count  # once forward, and twice backward


def test_a_span_that_ends_behind_a_clock_jump_is_bounced(tmp_path: Path) -> None:
    """The frames behind the jump, which no time in the file's own count finds, come back too."""
    part = write_clip(tmp_path / "part.ts", frames=48).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part * 2)
    source = VideoSource(tmp_path / "joined.ts", 0.0, 60 / RATE)
    count = sum(1 for _ in source.frames())
    assert count > 48
    frames = list(islice(timeline(source, 100.0, "bounce"), 2 * count - 1))
    assert [frame.index for frame in frames] == [*range(count), *range(count - 2, -1, -1)]
    assert "the clock of its timestamps jumps" in "".join(source.warnings)


def test_a_shelf_gives_pictures_back_bit_for_bit(tmp_path: Path) -> None:
    """Pictures come back last first, with every sample, their colours, orientation and place in time."""
    path = write_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt="yuv422p10le", size=(65, 47), rotation=90)
    source = VideoSource(path)
    frames = list(source.frames())
    with FrameStack(source.frame_bytes, len(frames)) as stack:
        for frame in frames:
            stack.push(frame)
        for frame in reversed(frames):
            back = stack.pop()
            assert (back.pts, back.duration, back.index) == (frame.pts, frame.duration, frame.index)
            assert (back.picture.tags, back.picture.orientation) == (frame.picture.tags, frame.picture.orientation)
            for plane in range(3):
                one, other = (plane_array(each.picture.frame, plane, each.picture.native) for each in (frame, back))
                np.testing.assert_array_equal(one, other)
        assert len(stack) == 0


def test_a_span_is_bounced_within_itself(tmp_path: Path) -> None:
    """With --start and --end only the span's frames are shown, from time 0 on."""
    path = write_clip(tmp_path / "clip.mp4", frames=20)
    frames = list(timeline(VideoSource(path, 0.2, 0.4), 10 / RATE, "bounce"))
    assert shown(frames) == [5, 6, 7, 8, 9, 8, 7, 6, 5, 6]
    check_continuous(frames)


@pytest.mark.parametrize("mode", ["bounce", "loop", "hold", "cut"])
def test_a_still_repeats_one_picture(tmp_path: Path, mode: str) -> None:
    """A still fills the speech at 25 frames per second with the very same, shared picture."""
    path = write_clip(tmp_path / "still.png", frames=1, codec="png", pix_fmt="rgb24")
    source = VideoSource(path)
    frames = list(timeline(source, 0.42, mode, "cut"))
    assert len(frames) == 11
    assert len({id(frame.picture) for frame in frames}) == 1
    assert frames[0].picture.shared
    check_continuous(frames)
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(11) / 25)
    assert estimate_frames(source, 0.42, mode, "cut") in (10, 11)


def test_the_held_frame_is_shared_from_its_first_showing(tmp_path: Path) -> None:
    """The frame that will be held is marked as shared when it first comes, the others are not."""
    frames = list(timeline(clip(tmp_path), 9 / RATE, "hold"))
    assert [frame.picture.shared for frame in frames] == [False] * 5 + [True] * 4
    assert len({id(frame.picture) for frame in frames}) == 6
    frames = list(timeline(clip(tmp_path), 3 / RATE, "hold"))
    assert not any(frame.picture.shared for frame in frames)


def test_a_span_of_one_frame_stands_still(tmp_path: Path) -> None:
    """A span of a single frame is held, whatever the mode."""
    path = write_clip(tmp_path / "clip.mp4", frames=20)
    frames = list(timeline(VideoSource(path, 0.2, 0.24), 5 / RATE, "bounce"))
    assert [frame.index for frame in frames] == [0] * 5
    assert frames[0].picture.shared
    check_continuous(frames)


def test_the_time_base_is_the_sources_own(tmp_path: Path) -> None:
    """A clip keeps its ticks, a still gets fine ones."""
    assert output_time_base(clip(tmp_path)) == clip(tmp_path).time_base
    still = VideoSource(write_clip(tmp_path / "still.png", frames=1, codec="png", pix_fmt="rgb24"))
    assert (1 / (25 * output_time_base(still))).denominator == 1


def test_timeline_frames_hold_pictures(tmp_path: Path) -> None:
    """Every frame's picture can be read and copied."""
    for frame in timeline(clip(tmp_path), 0.2, "loop"):
        assert isinstance(frame.picture.copy(), Picture)


@pytest.mark.parametrize(
    ("source_rate", "rate", "expected"),
    [(30, 25, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]), (24, 48, [0, 0, 1, 1, 2, 2]), (25, 25, [0, 1, 2, 3])],
)
def test_frames_are_shown_at_another_rate(source_rate: int, rate: int, expected: list[int]) -> None:
    """At each moment of the new rate, the frame that is on the screen then; times and durations are the rate's."""
    frames = [
        TimelineFrame(None, i, 1, i, i / source_rate, 1 / source_rate)  # type: ignore[arg-type]
        for i in range(expected[-1] + 1)
    ]
    retimed = list(at_rate(frames, Fraction(rate)))[: len(expected)]
    assert [frame.index for frame in retimed] == expected
    assert [frame.time_s for frame in retimed] == pytest.approx([i / rate for i in range(len(expected))])
    assert [frame.pts for frame in retimed] == [90_000 // rate * i for i in range(len(expected))]
