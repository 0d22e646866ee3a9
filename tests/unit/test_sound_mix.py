"""Several voices, kept spans and backgrounds become one track, exact to the sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import UsageError
from client.media import VideoSource
from client.scene.scene import TimeSpan
from client.sound.ducking import speaking_spans
from client.sound.gate import Gate
from tests.media_clips import audio_codec, copy_video, read_sound, tone, write_clip, write_sound
from tests.scene_sounds import (
    MARGIN,
    RATE,
    at,
    level_db,
    noise,
    opened,
    samples_of,
    scene_of,
    speaker,
    video_with,
    voice_of,
)

ANN, BOB, OWN = noise(3, 1), noise(3.5, 2), noise(4, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a video of 4 s and its sound."""
    video_with(OWN, tmp_path / "video.avi")
    return tmp_path


def test_two_voices_are_heard_at_once(folder: Path) -> None:
    """Voices without segments are added, sample by sample, from the beginning to the end of the longer one."""
    scene = scene_of(speaker("ann", voice_of(folder, "ann", ANN)), speaker("bob", voice_of(folder, "bob", BOB)))
    with opened(scene, folder / "video.avi") as sound:
        mixed = samples_of(sound.written)[:, 0]
        assert sound.duration_s == 3.5
        assert [voice.duration for voice in sound.voices] == [3.0, 3.5]
        assert sound.done == ["ann.wav, bob.wav: mixed at 48000 Hz in mono"]
    np.testing.assert_array_equal(mixed[: at(3)], ANN + BOB[: at(3)])
    np.testing.assert_array_equal(mixed[at(3) :], BOB[at(3) :])


def test_segments_say_when_a_voice_is_heard(folder: Path) -> None:
    """In a dialogue each voice is heard in its segments alone, at the same time of its file."""
    scene = scene_of(
        speaker("ann", voice_of(folder, "ann", ANN), (0, 1), (2, 2.5)),
        speaker("bob", voice_of(folder, "bob", BOB), (1, 2)),
    )
    with opened(scene, folder / "video.avi") as sound:
        mixed = samples_of(sound.written)[:, 0]
        assert sound.duration_s == 2.5
    for source, start, end in ((ANN, 0, 1), (BOB, 1, 2), (ANN, 2, 2.5)):
        first, last = at(start) + MARGIN * (start > 0), at(end) - MARGIN
        np.testing.assert_array_equal(mixed[first:last], source[first:last])
    assert len(mixed) == at(2.5)


def test_joins_do_not_click(folder: Path) -> None:
    """Where two steady voices join, the level changes over 20 ms, and no step exceeds what they have themselves."""
    high, low = np.full(at(2), 0.5, np.float32), np.full(at(2), -0.25, np.float32)
    scene = scene_of(
        speaker("ann", voice_of(folder, "ann", high), (0, 1)), speaker("bob", voice_of(folder, "bob", low), (1, 2))
    )
    with opened(scene, folder / "video.avi") as sound:
        mixed = samples_of(sound.written)[: at(1.9), 0]
    steps = np.abs(np.diff(mixed))
    assert steps.max() <= 0.75 / (0.02 * RATE) * 1.01
    fading = np.flatnonzero(steps > 0)
    assert (fading[0], fading[-1]) == pytest.approx((at(0.99), at(1.01)), abs=2)


def test_gates_that_fill_the_timeline_sum_to_one() -> None:
    """A voice that two segments share is not changed where they meet; short gaps close partly."""
    spans = [(0, 0.3), (0.3, 0.305), (0.305, 1.0), (1.01, float("inf"))]
    gates = [Gate([TimeSpan(*span)], RATE) for span in spans]
    gains = sum(np.broadcast_to(gate.gain(0, RATE), RATE).astype(np.float64) for gate in gates)
    np.testing.assert_allclose(gains[: at(0.98)], 1, atol=1e-6)
    assert Gate([TimeSpan(*span) for span in spans[:3]], RATE).gain(0, at(0.9)) == 1.0
    assert Gate([TimeSpan(0.5, 0.6)], RATE).gain(0, at(0.4)) == 0.0
    gap = Gate([TimeSpan(*span) for span in spans[2:]], RATE).gain(0, 2 * RATE)
    assert 0.45 < np.min(gap[at(0.5) :]) < 0.55  # a gap of half a fade


@pytest.mark.parametrize("start", [0.0, 1.0, 0.52])
def test_kept_spans_are_the_videos_own_sound(folder: Path, start: float) -> None:
    """In spans that are left alone the video's own samples are written, and the voice in the others."""
    scene = scene_of(speaker("ann", voice_of(folder, "ann", ANN)), unchanged=((0, 1), (1.5, float("inf"))))
    video = VideoSource(folder / "video.avi", start)
    with opened(scene, video) as sound:
        mixed = samples_of(sound.written)[:, 0]
        assert sound.duration_s == 1.5
        assert "the video's own sound was kept in 0-1,1.5- s" in sound.done
    own = OWN[at(start) :]
    assert len(mixed) == len(own)
    np.testing.assert_array_equal(mixed[: at(1) - MARGIN], own[: at(1) - MARGIN])
    np.testing.assert_array_equal(mixed[at(1) + MARGIN : at(1.5) - MARGIN], ANN[at(1) + MARGIN : at(1.5) - MARGIN])
    np.testing.assert_array_equal(mixed[at(1.5) + MARGIN :], own[at(1.5) + MARGIN :])


@pytest.mark.parametrize(("picture_s", "sound_s"), [(0.0, 0.5), (0.5, 0.0)])
def test_kept_sound_keeps_its_distance_from_the_picture(tmp_path: Path, picture_s: float, sound_s: float) -> None:
    """Where picture and sound of the video start at different times, what is kept stays in its place."""
    pts = [round((picture_s + i / 25) * 12_800) for i in range(100)]
    own = np.zeros(at(3), np.float32)
    own[at(1) : at(1.2)] = noise(0.2, 4)
    path = write_clip(tmp_path / "clip.mkv", frames=100, pts=pts, sound=own, sound_start_s=sound_s)
    scene = scene_of(speaker("ann", voice_of(tmp_path, "ann", ANN)), unchanged=((0, 3),))
    with opened(scene, path) as sound:
        mixed = samples_of(sound.written)[: at(2.5), 0]
    heard = np.argmax(np.correlate(mixed, noise(0.2, 4), "valid"))
    assert heard == pytest.approx(at(1 + sound_s), abs=RATE // 1000)  # Matroska counts milliseconds


def test_kept_aac_is_as_it_is_decoded(tmp_path: Path) -> None:
    """The delay of the video's own encoder is accounted for: what is kept is what a player decodes, at its time."""
    video = video_with(OWN, tmp_path / "video.mp4")
    decoded, first_s, _ = read_sound(video)
    scene = scene_of(speaker("ann", voice_of(tmp_path, "ann", ANN)), unchanged=((0, 4),))
    with opened(scene, video) as sound:
        mixed = samples_of(sound.written)[:, 0]
    assert first_s == 0
    last = at(4) - MARGIN
    np.testing.assert_array_equal(mixed[:last], decoded[0, :last])


def test_beyond_the_video_there_is_no_original_sound(folder: Path) -> None:
    """When the voice goes on after the video, spans left alone there are silent, also if the file's sound goes on."""
    long = video_with(noise(6, 3), folder / "long.avi")
    scene = scene_of(speaker("ann", voice_of(folder, "ann", noise(6, 5))), unchanged=((3, 5.5),))
    with opened(scene, long) as sound:
        mixed = samples_of(sound.written)[:, 0]
    assert not mixed[at(4) + MARGIN : at(5.5) - MARGIN].any()
    np.testing.assert_array_equal(mixed[at(3) + MARGIN : at(4) - MARGIN], noise(6, 3)[at(3) + MARGIN : at(4) - MARGIN])


def test_a_video_without_sound_is_silent_in_kept_spans(tmp_path: Path) -> None:
    """If the video has no sound, spans that are left alone are silent, and that is said."""
    scene = scene_of(speaker("ann", voice_of(tmp_path, "ann", ANN)), unchanged=((1, 2),))
    with opened(scene, video_with(None, tmp_path / "mute.mp4")) as sound:
        mixed = samples_of(sound.written)[:, 0]
        assert "silence, as the video has no sound, in 1-2 s" in sound.done
    assert not mixed[at(1) + MARGIN : at(2) - MARGIN].any()


def test_two_full_scale_voices_do_not_clip(folder: Path) -> None:
    """Where voices add up beyond full scale the mix is made softer, and nowhere else."""
    loud = (0.95 * np.sin(2 * np.pi * 300 * np.arange(at(3)) / RATE)).astype(np.float32)
    other = np.where(np.arange(at(3)) < at(2), loud, 0).astype(np.float32)
    other[: at(1)] = 0
    scene = scene_of(speaker("ann", voice_of(folder, "ann", loud)), speaker("bob", voice_of(folder, "bob", other)))
    with opened(scene, folder / "video.avi") as sound:
        mixed = samples_of(sound.written)[:, 0]
        assert any("would have clipped" in line for line in sound.done)
        single = samples_of(sound.voices[0])[:, 0]
    assert np.abs(mixed).max() <= 1.0
    assert np.abs(mixed[at(1.2) : at(1.8)]).max() > 0.99
    np.testing.assert_array_equal(mixed[: at(0.97)], single[: at(0.97)])
    np.testing.assert_array_equal(mixed[at(2.03) :], single[at(2.03) :])
    assert np.abs(np.diff(mixed)).max() < 2 * np.abs(np.diff(loud)).max()


def test_mixes_take_the_finest_rate_and_stereo(folder: Path) -> None:
    """The mix has the highest rate of its sources, and two channels if one of them has; timing stays within 1 ms."""
    click = np.zeros(44_100, np.float32)
    click[22_050] = 0.9
    pair = np.stack([noise(1, 6) * 0, noise(1, 7)])
    scene = scene_of(
        speaker("ann", voice_of(folder, "ann", click, 44_100)), speaker("bob", voice_of(folder, "bob", pair))
    )
    with opened(scene, folder / "video.avi") as sound:
        assert (sound.written.rate, sound.written.channels) == (RATE, 2)
        mixed = samples_of(sound.written)
    assert np.argmax(np.abs(mixed[:, 0])) == pytest.approx(at(0.5), abs=RATE // 1000)
    assert np.abs(mixed[:, 0]).max() == pytest.approx(0.9, abs=0.1)  # a click has no place between samples


def test_backgrounds_lie_under_the_voice(folder: Path) -> None:
    """A file is mixed at its volume until the video ends, however long it is; a short one ends before."""
    voice = speaker("ann", voice_of(folder, "ann", ANN))
    music = write_sound(folder / "music.wav", noise(10, 8), rate=RATE)
    with opened(scene_of(voice), folder / "video.avi", background=str(music), background_volume=-6) as sound:
        mixed = samples_of(sound.written)[:, 0]
        assert sound.done[-1] == "music.wav is in the background at -6 dB"
    assert len(mixed) == at(4)
    expected = noise(10, 8)[: at(4)] * 10 ** (-6 / 20)
    expected[: at(3)] += ANN
    np.testing.assert_allclose(mixed[: at(4) - MARGIN], expected[: at(4) - MARGIN], atol=1e-6)
    short = write_sound(folder / "short.wav", noise(1, 8), rate=RATE)
    with opened(scene_of(voice), folder / "video.avi", background=str(short)) as sound:
        np.testing.assert_array_equal(samples_of(sound.written)[at(1) : at(3), 0], ANN[at(1) :])


def test_the_original_background_is_in_its_place(folder: Path) -> None:
    """The video's own sound lies under the voice where the video has it, from the chosen start on."""
    voice = speaker("ann", voice_of(folder, "ann", ANN * 0))
    with opened(scene_of(voice), VideoSource(folder / "video.avi", 1.0, 3.0), background="original") as sound:
        mixed = samples_of(sound.written)[:, 0]
    np.testing.assert_array_equal(mixed[: at(2) - MARGIN], OWN[at(1) : at(3) - MARGIN])
    assert not mixed[at(2) + MARGIN :].any()  # the output goes on to the end of the voice


def test_a_background_is_ducked_while_a_voice_speaks(folder: Path) -> None:
    """With duck the background is so much softer in speech, and back 100 ms after it; the fade is smooth."""
    speech = np.zeros(at(4), np.float32)
    speech[at(1) : at(2.5)] = tone(1.5, RATE, 200)
    music = write_sound(folder / "music.wav", tone(4, RATE, 3000), rate=RATE)
    scene = scene_of(speaker("ann", voice_of(folder, "ann", speech)))
    with opened(scene, folder / "video.avi", background=str(music), duck=12) as sound:
        assert speaking_spans(sound.voices[0]) == (TimeSpan(1.0, 2.5),)
        background = samples_of(sound.written)[:, 0] - speech
    whole, ducked = level_db(background[: at(0.8)]), level_db(background[at(1.05) : at(2.45)])
    assert whole - ducked == pytest.approx(12, abs=0.05)
    assert level_db(background[at(2.65) : at(3.5)]) == pytest.approx(whole, abs=0.05)
    assert np.abs(np.diff(background)).max() <= np.abs(np.diff(tone(1, RATE, 3000))).max() * 1.01


def test_mixes_are_encoded_once(folder: Path) -> None:
    """The mix is heard in the output where it should be, as AAC in mp4 and without loss in mkv."""
    scene = scene_of(speaker("ann", voice_of(folder, "ann", ANN)), speaker("bob", voice_of(folder, "bob", BOB)))
    source = VideoSource(video_with(None, folder / "mute.mp4"))
    for name, codec in (("out.mp4", "aac"), ("out.mkv", "flac"), ("out.avi", "pcm_s24le")):
        with opened(scene, source, name) as sound:
            assert copy_video(source, folder / name, sound.written) == []
            mixed = samples_of(sound.written)[:, 0]
        assert audio_codec(folder / name) == codec
        written = read_sound(folder / name)[0][0]
        if codec != "aac":
            np.testing.assert_allclose(written[: len(mixed)], mixed, atol=2**-23)
        part = mixed[at(1) : at(2)]
        assert np.argmax(np.correlate(written[: at(3)], part, "valid")) == at(1)


def test_a_background_fails_for_a_video_without_sound(tmp_path: Path) -> None:
    """The original background of a mute video is refused, and an unreadable file is named with its option."""
    scene = scene_of(speaker("ann", voice_of(tmp_path, "ann", ANN)))
    mute = video_with(None, tmp_path / "mute.mp4")
    with pytest.raises(UsageError, match=r"^background: expected a video with sound for original, got mute.mp4"):
        opened(scene, mute, background="original")
