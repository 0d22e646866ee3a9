"""A picture and a sound that start at different times keep their distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.media import AudioSource, VideoSource, at_rate, estimate_frames, from_first_frame, timeline
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from tests.media_clips import RATE, burst, copy_video, frame_times, read_sound, tone, write_clip, write_sound

CLICK_S = 0.7  # when the clip's sound has a click, from its start
FRAMES = 25


def clip(folder: Path, picture_s: float, sound_s: float) -> Path:
    """Write a clip whose picture and sound start at these times."""
    pts = [round((picture_s + i / RATE) * 12_800) for i in range(FRAMES)]
    sound = burst(1.5, CLICK_S, 48_000)
    return write_clip(folder / "clip.mkv", frames=FRAMES, pts=pts, sound=sound, sound_start_s=sound_s)


@pytest.mark.parametrize(("picture_s", "sound_s"), [(0.5, 0.0), (0.0, 0.5), (0.0, 0.064), (0.021, 0.0), (100.5, 100.0)])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm", "out.ts"])
def test_picture_and_sound_keep_their_offset(tmp_path: Path, picture_s: float, sound_s: float, name: str) -> None:
    """The output starts at 0 with what starts first; the other one follows as in the source."""
    source = VideoSource(clip(tmp_path, picture_s, sound_s))
    audio = AudioSource(source.path, tmp_path / name, source.speech_delay_s)
    copy_video(source, tmp_path / name, audio)
    samples, first_s, rate = read_sound(tmp_path / name)
    click_s = first_s + float(np.argmax(np.abs(samples[0]) > 0.3)) / rate
    times = frame_times(tmp_path / name)
    assert len(times) == FRAMES
    assert click_s - times[0] == pytest.approx(sound_s + CLICK_S - picture_s, abs=0.0015)  # mkv counts milliseconds
    if name == "out.mp4":
        assert min(times[0], click_s - CLICK_S) == pytest.approx(0, abs=0.0005)


def test_another_speech_takes_the_place_of_the_sound(tmp_path: Path) -> None:
    """A speech from another file starts when the video's own sound did."""
    source = VideoSource(clip(tmp_path, 0.5, 0.0))
    audio = AudioSource(write_sound(tmp_path / "speech.wav", tone(1.5)), delay_s=source.speech_delay_s)
    copy_video(source, tmp_path / "out.mp4", audio)
    assert frame_times(tmp_path / "out.mp4")[0] == pytest.approx(0.5)
    assert AudioSource(tmp_path / "out.mp4").start_s == 0


def test_frames_are_shown_with_what_is_said_then(tmp_path: Path) -> None:
    """A late picture starts late on the timeline, retimed or not, and is filled until the speech ends."""
    source = VideoSource(clip(tmp_path, 0.5, 0.0))
    frames = list(timeline(source, 2.0))
    assert [frame.time_s for frame in frames] == pytest.approx(0.5 + np.arange(38) / RATE)
    assert estimate_frames(source, 2.0, "bounce", "keep") == 38
    assert [frame.time_s for frame in at_rate(frames[:3], 50)] == pytest.approx(0.5 + np.arange(6) / 50)
    assert len(list(timeline(source, 0.2, if_audio_shorter="cut"))) == 1
    assert [frame.time_s for frame in from_first_frame(frames)] == pytest.approx(np.arange(38) / RATE)


def test_a_late_sound_is_silent_before_it_starts(tmp_path: Path) -> None:
    """The models are given silence for the time before a late sound, and its length counts from the picture's start."""
    path = write_sound(tmp_path / "speech.wav", tone(1.0))
    audio, delayed = AudioSource(path), AudioSource(path, delay_s=0.25)
    delay = AUDIO_SAMPLE_RATE // 4
    assert delayed.duration == 1.25
    assert delayed.speech_length == audio.speech_length + delay
    assert not delayed.window(0, delay).any()
    np.testing.assert_array_equal(delayed.window(delay, delay + 16_000), audio.window(0, 16_000))


def test_a_span_starts_with_its_speech(tmp_path: Path) -> None:
    """Where the user chooses the span, the speech starts with it."""
    source = VideoSource(clip(tmp_path, 0.5, 0.0), 0.2)
    assert (source.picture_delay, source.speech_delay_s) == (0, 0)


def test_streams_hours_apart_start_together(tmp_path: Path) -> None:
    """An offset that cannot be meant is not kept, and that is said."""
    source = VideoSource(clip(tmp_path, 7200.0, 0.0))
    assert source.picture_delay == 0
    assert any("do not start at about the same time" in line for line in source.warnings)
