"""Voices are recordings, or parts, channels and other speeds of them, and start when they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.errors import MediaError, UsageError
from client.media import VideoSource, estimate_frames, timeline
from client.scene.scene import Voice, simple_scene
from client.sound.blocks import silence
from client.sound.tempo import at_speed
from client.tracking.faces import LARGEST
from tests.media_clips import tone, write_clip
from tests.scene_sounds import RATE, at, noise, opened, samples_of, scene_of, speaker, video_with, voice_of

ANN = noise(3, 1)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 4 s without sound."""
    return video_with(None, tmp_path / "video.mp4")


def test_a_positive_offset_delays_the_voice(tmp_path: Path, video: Path) -> None:
    """The voice starts later, for the lips and in the track, and its packets may still be copied."""
    voice = voice_of(tmp_path, "ann", ANN)
    with opened(simple_scene(voice.path, LARGEST), video, audio_offset=0.5) as sound:
        (lips,) = sound.voices
        assert sound.written is lips
        assert (lips.delay_s, lips.duration, sound.duration_s, lips.is_clean) == (0.5, 3.5, 3.5, True)
        np.testing.assert_array_equal(samples_of(lips)[:, 0], np.concatenate([np.zeros(at(0.5)), ANN]))
        assert not lips.window(0, 7_900).any()
        assert sound.done == ["ann.wav: it starts 0.5 s later"]


def test_a_negative_offset_cuts_the_beginning(tmp_path: Path, video: Path) -> None:
    """So much of the voice's beginning is left out, to the sample; offsets of the script and the option add up."""
    voice = replace(voice_of(tmp_path, "ann", ANN), offset_s=-0.25)
    with opened(scene_of(speaker("ann", voice)), video, audio_offset=-0.5) as sound:
        assert sound.duration_s == 2.25
        np.testing.assert_array_equal(samples_of(sound.written)[:, 0], ANN[at(0.75) :])
        assert sound.done == ["ann.wav: the part from 0.75 s to its end is used"]


def test_a_voice_is_a_part_of_its_file(tmp_path: Path, video: Path) -> None:
    """A part is used from its start to its end, placed at its offset."""
    voice = replace(voice_of(tmp_path, "ann", ANN), start_s=1.0, end_s=2.5, offset_s=2.0)
    with opened(scene_of(speaker("ann", voice)), video) as sound:
        assert sound.duration_s == 3.5
        np.testing.assert_array_equal(
            samples_of(sound.written)[:, 0], np.concatenate([np.zeros(at(2)), ANN[at(1) : at(2.5)]])
        )


@pytest.mark.parametrize("channel", [0, 1, None])
def test_one_channel_is_the_voice(tmp_path: Path, video: Path, channel: int | None) -> None:
    """The chosen channel alone drives the lips and is written; without a choice the file is written as it is."""
    sides = np.stack([tone(2, RATE, 300), tone(2, RATE, 700)])
    voice = voice_of(tmp_path, "pair", sides)
    with opened(simple_scene(voice.path, LARGEST, channel), video) as sound:
        written = samples_of(sound.written)
        if channel is None:
            assert written.shape[1] == 2
            assert sound.done == []
            return
        assert written.shape[1] == 1
        np.testing.assert_allclose(written[:, 0], sides[channel], atol=2**-15)
        lips = sound.voices[0].window(0, 16_000)
        assert np.abs(np.fft.rfft(lips)).argmax() == (300, 700)[channel]


def test_speakers_of_two_channels_have_two_voices(tmp_path: Path, video: Path) -> None:
    """Two people recorded on two channels of one file each follow their own."""
    pair = voice_of(tmp_path, "pair", np.stack([tone(1, RATE, 300), tone(1, RATE, 700)]))
    scene = scene_of(speaker("ann", replace(pair, channel=0)), speaker("bob", replace(pair, channel=1)))
    with opened(scene, video) as sound:
        heard = [np.abs(np.fft.rfft(voice.window(0, 16_000))).argmax() for voice in sound.voices]
        assert heard == [300, 700]


def test_equal_voices_are_one(tmp_path: Path, video: Path) -> None:
    """Speakers of one recording share its voice, which is written as it is, also outside their segments."""
    voice = voice_of(tmp_path, "talk", ANN)
    scene = scene_of(speaker("ann", voice, (0, 1)), speaker("bob", voice, (1.5, 2)))
    with opened(scene, video) as sound:
        assert sound.voices[0] is sound.voices[1] is sound.written
        assert sound.duration_s == 3.0
        assert sound.done == []


@pytest.mark.parametrize(("seconds", "rate"), [(3.3, 48_000), (4.9, 48_000), (4.3, 16_000), (4.6, 44_100)])
def test_stretch_fits_the_voice_to_the_video(tmp_path: Path, video: Path, seconds: float, rate: int) -> None:
    """The voice ends with the video, at its pitch, and the video plays once."""
    voice = voice_of(tmp_path, "ann", tone(seconds, rate, 440), rate)
    stretch = {"if_audio_longer": "stretch", "if_audio_shorter": "stretch"}
    with opened(simple_scene(voice.path, LARGEST), video, **stretch) as sound:
        assert sound.duration_s == pytest.approx(4.0, abs=0.001)
        written = samples_of(sound.written)[:, 0]
        assert sound.written is sound.voices[0]
        speed = f"{seconds / 4:.3f} times its speed"
        assert sound.done == [f"the voice was played at {speed}, to end with the video at 4.00 s"]
    spectrum = np.abs(np.fft.rfft(written * np.hanning(len(written))))
    assert spectrum.argmax() * rate / len(written) == pytest.approx(440, rel=0.005)
    source = VideoSource(video)
    assert len(list(timeline(source, sound.duration_s, "stretch", "stretch"))) == 100
    assert estimate_frames(source, sound.duration_s, "stretch", "stretch") == 100


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("speed", [0.8, 0.93, 1.07, 1.25])
def test_stretched_speech_stays_in_place(rate: int, speed: float) -> None:
    """Bursts in a voice are heard where its new speed puts them, within 20 ms: half a frame."""
    sound = np.zeros((5 * rate, 1), np.float32)
    for second in range(1, 5):
        sound[second * rate : second * rate + rate // 10, 0] = noise(0.1, second, rate)[: rate // 10]
    played = np.concatenate(list(at_speed(iter([sound]), rate, speed, len(sound))))[:, 0]
    assert len(played) == round(len(sound) / speed)
    for second in range(1, 5):
        middle = (second + 0.05) / speed
        first, last = at(middle - 0.2, rate), at(middle + 0.2, rate)
        energy = played[first:last] ** 2
        heard = float(np.sum(energy * np.arange(first, last)) / np.sum(energy)) / rate
        assert heard == pytest.approx(middle, abs=0.02)


def test_all_voices_are_stretched_alike(tmp_path: Path, video: Path) -> None:
    """Two voices keep their distance: the longest one ends with the video, the other one plays at the same speed."""
    scene = scene_of(
        speaker("ann", voice_of(tmp_path, "ann", tone(4.4, RATE, 300))),
        speaker("bob", voice_of(tmp_path, "bob", tone(2.2, RATE, 700))),
    )
    with opened(scene, video, if_audio_longer="stretch") as sound:
        assert [voice.duration for voice in sound.voices] == pytest.approx([4.0, 2.0], abs=0.001)


def test_voices_that_fit_are_not_stretched(tmp_path: Path, video: Path) -> None:
    """A voice of the video's length, one for a photograph, and one that the other rule holds for are copied."""
    voice = voice_of(tmp_path, "ann", noise(4, 1))
    short = voice_of(tmp_path, "short", noise(3.5, 1))
    still = write_clip(tmp_path / "still.png", frames=1, codec="png", pix_fmt="rgb24")
    for path, source in ((video, voice), (still, voice), (video, short)):
        with opened(simple_scene(source.path, LARGEST), path, if_audio_longer="stretch") as sound:
            assert sound.done == []
            assert sound.written.is_clean


def test_silence_can_be_stretched() -> None:
    """Sounds shorter than the filter's window, and silence, give the length that was asked for."""
    for samples in (1, 100, 5_000):
        assert sum(map(len, at_speed(silence(samples, 2), RATE, 1.25, samples))) == round(samples / 1.25)


@pytest.mark.parametrize(
    ("seconds", "option", "needed"), [(8, "if_audio_longer", "2.00 times"), (2, "if_audio_shorter", "0.50 times")]
)
def test_stretch_fails_beyond_its_limits(tmp_path: Path, video: Path, seconds: int, option: str, needed: str) -> None:
    """A voice that would be hurried or drawled is refused with the factor that it would need."""
    voice = voice_of(tmp_path, "ann", noise(seconds, 1))
    with pytest.raises(UsageError) as caught:
        opened(simple_scene(voice.path, LARGEST), video, **{option: "stretch"})
    assert str(caught.value).startswith(f"{option}: expected a voice that fits the video's 4.00 s at 0.8 to 1.25 times")
    assert needed in str(caught.value)


@pytest.mark.parametrize("given", [{"if_audio_shorter": "stretch"}, {"audio_offset": 0.5}])
def test_moved_voices_fail_with_segments(tmp_path: Path, video: Path, given: dict[str, object]) -> None:
    """Segments go neither with another speed nor with an offset of all voices."""
    scene = scene_of(speaker("ann", voice_of(tmp_path, "ann", ANN), (0, 1)))
    with pytest.raises(UsageError, match=rf"^{next(iter(given))}: expected speakers without segments, got segments"):
        opened(scene, video, **given)


@pytest.mark.parametrize(("part", "expected"), [
    ({"start_s": 5.0}, r"voice of ann, .*ann.wav: expected a sound that reaches from 5 s to its end, got 3.00 s"),
    ({"start_s": 1.0, "end_s": 4.0}, r"from 1 s to 4 s, got 3.00 s"),
    ({"offset_s": -3.5}, r"from 3.5 s to its end, got 3.00 s"),
    ({"channel": 1}, r"voice of ann, .*ann.wav: expected a sound with channel 1 \(right\), got 1 channel"),
    ({"path": Path("nowhere.wav")}, "voice of ann, nowhere.wav: expected a media file, got nothing under that name"),
])  # fmt: skip
def test_a_voice_fails_beyond_its_file(tmp_path: Path, video: Path, part: dict[str, object], expected: str) -> None:
    """A part, a channel or a file that does not exist is named with its speaker, in one line."""
    voice: Voice = replace(voice_of(tmp_path, "ann", ANN), **part)  # type: ignore[arg-type]
    with pytest.raises(MediaError, match=expected) as caught:
        opened(scene_of(speaker("ann", voice)), video)
    assert "\n" not in str(caught.value)


def test_a_part_may_end_with_rounded_seconds(tmp_path: Path, video: Path) -> None:
    """A part that ends a few tenths of a second after its file is used to the file's end."""
    voice = replace(voice_of(tmp_path, "ann", ANN), start_s=1.0, end_s=3.3)
    with opened(scene_of(speaker("ann", voice)), video) as sound:
        assert sound.duration_s == 2.0


def test_voices_that_are_never_heard_are_named(tmp_path: Path, video: Path) -> None:
    """Segments after the end of a voice are no error, but are said."""
    scene = scene_of(
        speaker("ann", voice_of(tmp_path, "ann", ANN)), speaker("bob", voice_of(tmp_path, "bob", noise(1, 2)), (2, 3))
    )
    with opened(scene, video) as sound:
        assert any(line.startswith("bob: nothing of bob.wav is heard; its segments lie") for line in sound.warnings)
        assert sound.duration_s == 3.0
