"""The progressive file: the output's own packets, playable at every step, and gone with its job."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.errors import OutputError, UsageError
from client.media import AudioSource, VideoSource, VideoWriter, timeline
from client.media.output import PendingFile
from client.media.progressive import progressive_path
from lipsync_core.locks import lock_file
from tests.media_clips import (
    RATE,
    burst,
    copy_video,
    frame_times,
    leftovers,
    read_frames,
    read_sound,
    tone,
    write_clip,
    write_sound,
)

FRAMES = 75
REORDERED = 4  # frames at a fragment's end, some of which may still lack the one that is shown before


@pytest.fixture
def source(tmp_path: Path) -> VideoSource:
    """Three seconds, to be written with B-frames and one keyframe."""
    return VideoSource(write_clip(tmp_path / "clip.mp4", frames=FRAMES))


@pytest.fixture
def speech(tmp_path: Path) -> AudioSource:
    return AudioSource(write_sound(tmp_path / "speech.wav", tone(FRAMES / RATE, 48_000), rate=48_000))


def write_keeping(
    source: VideoSource, output: Path, audio: AudioSource | None, kept: Path, **options: Any
) -> list[str]:
    """Write a video, and copy its progressive file when that is complete."""

    def keep(pending: PendingFile) -> PendingFile:
        shutil.copy(progressive_path(output), kept)
        return pending

    writer = VideoWriter(output, source, audio, progressive="on", **options)
    for frame in timeline(source, 0.0 if audio is None else audio.duration, "cut"):
        writer.write(frame.picture, frame.pts, frame.duration)
    writer.close(keep)
    return writer.warnings


def burst_at(path: Path) -> float:
    """Return when a burst is heard, in seconds."""
    samples, start_s, rate = read_sound(path)
    return start_s + float(np.argmax(np.abs(samples[0]) > 0.3)) / rate


def decoded(path: Path) -> list[bytes]:
    return [frame.to_ndarray().tobytes() for frame in read_frames(path)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("out.mp4", "auto"), ("out.mp4", "hevc"), ("out.mov", "auto"), ("out.mkv", "auto"), ("out.webm", "auto"),
     ("out.ts", "auto")],
)  # fmt: skip
def test_holds_the_packets_of_the_output(tmp_path: Path, source: VideoSource, name: str, codec: str) -> None:
    """Pictures, their times and the sound are the output's, which has the same bytes as without; nothing else stays."""
    sound = burst(FRAMES / RATE, 1.5, 48_000)
    speech = AudioSource(write_sound(tmp_path / "speech.m4a", sound, rate=48_000, codec="aac"))
    plain, output, kept = tmp_path / f"plain-{name}", tmp_path / name, tmp_path / "kept.mp4"
    copy_video(source, plain, speech, codec=codec)
    assert write_keeping(source, output, speech, kept, codec=codec) == []
    assert output.read_bytes() == plain.read_bytes()
    assert decoded(kept) == decoded(output)
    times = np.array(frame_times(output))
    np.testing.assert_allclose(frame_times(kept), times - times[0], atol=0.001)  # mkv and ts count milliseconds
    assert burst_at(kept) == pytest.approx(burst_at(output) - times[0], abs=0.002)
    assert not progressive_path(output).exists()
    assert leftovers(tmp_path) == []


def test_sound_is_the_outputs_in_mp4(tmp_path: Path, source: VideoSource, speech: AudioSource) -> None:
    """Where the output is an mp4 too, every sample is the same, at the same time."""
    output, kept = tmp_path / "out.mp4", tmp_path / "kept.mp4"
    write_keeping(source, output, speech, kept)
    samples, start_s, _ = read_sound(output)
    assert read_sound(kept)[1] == start_s
    np.testing.assert_array_equal(read_sound(kept)[0], samples)


def test_plays_at_every_step(tmp_path: Path, source: VideoSource, speech: AudioSource) -> None:
    """A copy of the growing file decodes to the beginning of the result; the first fragment comes early."""
    output, copy = tmp_path / "out.mp4", tmp_path / "copy.mp4"
    steps: dict[int, dict[int, bytes]] = {}  # frames written -> frames decoded, by number
    with VideoWriter(output, source, speech, progressive="on") as writer:
        for index, frame in enumerate(timeline(source, speech.duration, "cut")):
            writer.write(frame.picture, frame.pts, frame.duration)
            shutil.copy(progressive_path(output), copy)
            if copy.stat().st_size:
                numbers = [round(time_s * RATE) for time_s in frame_times(copy)]
                steps[index + 1] = dict(zip(numbers, decoded(copy), strict=True))
    whole = decoded(output)
    for frames in steps.values():
        assert all(frame == whole[number] for number, frame in frames.items())
        assert list(frames)[:-REORDERED] == list(range(len(frames) - REORDERED))
    counts = [len(frames) for frames in steps.values()]
    print(f"first fragment after {min(steps)} frames; then there are {sorted(set(counts))}")
    assert counts == sorted(counts)
    assert len(set(counts)) >= 3
    assert min(steps) <= 2 * RATE


def test_sound_that_ends_early_holds_no_pictures_back(tmp_path: Path, source: VideoSource) -> None:
    """Pictures after the end of the sound appear as they are made."""
    short = AudioSource(write_sound(tmp_path / "short.wav", tone(0.4, 48_000), rate=48_000))
    output, sizes = tmp_path / "out.mp4", []
    with VideoWriter(output, source, short, progressive="on") as writer:
        for frame in timeline(source, FRAMES / RATE, "cut"):
            writer.write(frame.picture, frame.pts, frame.duration)
            sizes.append(progressive_path(output).stat().st_size)
    assert len(set(sizes)) >= 3


def test_rotation_is_kept(tmp_path: Path) -> None:
    """Players turn the pictures as they turn those of the result."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", rotation=90))
    output, kept = tmp_path / "out.mp4", tmp_path / "kept.mp4"
    write_keeping(source, output, None, kept)
    assert [frame.rotation for frame in read_frames(kept)] == [frame.rotation for frame in read_frames(output)]
    assert read_frames(kept)[0].rotation != 0


def test_failure_leaves_nothing(tmp_path: Path, source: VideoSource) -> None:
    """An error in the middle removes the progressive file with the hidden one."""
    output = tmp_path / "out.mp4"
    writer = VideoWriter(output, source, progressive="on")
    writer.write(next(iter(timeline(source, 0.0, "cut"))).picture, 0, 512)
    assert progressive_path(output).exists()
    writer.abort()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("out.mkv", {"codec": "ffv1"}, "progressive: expected a video codec that mp4 files hold .*, got ffv1"),
     ("out.avi", {}, "progressive: expected sound that mp4 files hold .*, got pcm_s16le")],
)  # fmt: skip
def test_what_mp4_cannot_hold_is_refused(
    tmp_path: Path, source: VideoSource, speech: AudioSource, name: str, options: dict[str, Any], message: str
) -> None:
    """One line says so before a picture is written; where it was not asked for, there is just no such file."""
    output = tmp_path / name
    with pytest.raises(UsageError, match=message):
        VideoWriter(output, source, speech, progressive="on", **options)
    assert leftovers(tmp_path) == []
    with VideoWriter(output, source, speech, progressive="if possible", **options) as writer:
        assert not progressive_path(output).exists()
        for frame in timeline(source, speech.duration, "cut"):
            writer.write(frame.picture, frame.pts, frame.duration)
    assert not [warning for warning in writer.warnings if "progressive" in warning]
    assert len(read_frames(output)) == FRAMES


def test_other_files_of_its_name_stay(tmp_path: Path, source: VideoSource) -> None:
    """A file of the user is neither replaced nor removed."""
    output = tmp_path / "out.mp4"
    own = progressive_path(output)
    shutil.copy(source.path, own)
    before = own.read_bytes()
    with pytest.raises(OutputError, match="another file, or one that another job writes"):
        VideoWriter(output, source, progressive="on")
    with VideoWriter(output, source, progressive="if possible") as writer:
        writer.write(next(iter(timeline(source, 0.0, "cut"))).picture, 0, 512)
    assert any("another file" in warning for warning in writer.warnings)
    assert own.read_bytes() == before


def test_what_a_killed_job_left_is_removed(tmp_path: Path, source: VideoSource) -> None:
    """The next job of the output removes it, whether it is empty or begun, and whether it writes one itself or not."""
    output, kept = tmp_path / "out.mp4", tmp_path / "kept.mp4"
    write_keeping(source, output, None, kept)
    for mode in ("off", "on"):
        for content in (b"", kept.read_bytes()):
            progressive_path(output).write_bytes(content)
            copy_video(source, output, progressive=mode)
            assert not progressive_path(output).exists()


def test_input_stays(tmp_path: Path, source: VideoSource) -> None:
    """What a killed job left may be a source of the next one."""
    output, left = tmp_path / "out.mp4", progressive_path(tmp_path / "out.mp4")
    write_keeping(source, output, None, tmp_path / "kept.mp4")
    (tmp_path / "kept.mp4").rename(left)
    copy_video(VideoSource(left), output)
    assert left.exists()
    with pytest.raises(OutputError, match="another file"):
        VideoWriter(output, VideoSource(left), progressive="on")


def test_file_of_a_running_job_stays(tmp_path: Path, source: VideoSource) -> None:
    """A job neither removes nor replaces what another one writes."""
    output = tmp_path / "out.mp4"
    with progressive_path(output).open("w") as other:
        lock_file(other.fileno())
        copy_video(source, output)
        with pytest.raises(OutputError, match="another job writes"):
            VideoWriter(output, source, progressive="on")
        assert progressive_path(output).exists()


def test_file_that_took_its_name_stays(tmp_path: Path, source: VideoSource) -> None:
    """What somebody put in its place meanwhile is not removed with it."""
    output = tmp_path / "out.mp4"
    with VideoWriter(output, source, progressive="on") as writer:
        writer.write(next(iter(timeline(source, 0.0, "cut"))).picture, 0, 512)
        other = tmp_path / "other"
        other.write_bytes(b"other")
        other.replace(progressive_path(output))
    assert progressive_path(output).read_bytes() == b"other"


def test_job_outlives_its_progressive_file(
    tmp_path: Path, source: VideoSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it can no longer be written, it goes, a warning says why, and the result is complete."""
    output = tmp_path / "out.mp4"
    with VideoWriter(output, source, progressive="on") as writer:
        for index, frame in enumerate(timeline(source, 0.0, "cut")):
            if index == FRAMES // 2:
                monkeypatch.setattr("client.media.progressive.PacketTimes.restore", _full)
            writer.write(frame.picture, frame.pts, frame.duration)
    assert not progressive_path(output).exists()
    assert [warning for warning in writer.warnings if "the disk is full" in warning]
    assert len(read_frames(output)) == FRAMES


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_permissions_are_those_of_the_file_that_is_replaced(tmp_path: Path, source: VideoSource) -> None:
    """What others may not read, they may not read meanwhile either."""
    output = tmp_path / "out.mp4"
    output.touch(0o600)
    with VideoWriter(output, source, progressive="on") as writer:
        assert progressive_path(output).stat().st_mode & 0o777 == 0o600
        writer.write(next(iter(timeline(source, 0.0, "cut"))).picture, 0, 512)
