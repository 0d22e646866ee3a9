"""The speech: exact length, mono 16 kHz blocks, windows, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import MediaError
from client.media import AudioSource
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from tests.media_clips import burst, tone, write_sound

SOUNDS = {
    "sound.wav": ("pcm_s16le", 8_000, "mono", None),
    "deep.wav": ("pcm_s24le", 48_000, "stereo", None),
    "float.wav": ("pcm_f32le", 22_050, "mono", None),
    "bytes.wav": ("pcm_u8", 11_025, "mono", None),
    "sound.mp3": ("libmp3lame", 44_100, "stereo", None),
    "sound.m4a": ("aac", 44_100, "stereo", None),
    "sound.aac": ("aac", 16_000, "mono", None),
    "sound.flac": ("flac", 96_000, "stereo", None),
    "sound.opus": ("libopus", 48_000, "mono", None),
    "surround.mkv": ("ac3", 48_000, "5.1", None),
    "sound.aiff": ("pcm_s16be", 16_000, "mono", None),
    "sound.caf": ("alac", 44_100, "stereo", None),
}


@pytest.fixture(params=SOUNDS)
def sound(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Half a second of a tone in each format; every channel the same."""
    codec, rate, layout, sample_format = SOUNDS[request.param]
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = np.tile(tone(0.5, rate), (channels, 1))
    return write_sound(
        tmp_path / request.param, samples, rate=rate, codec=codec, layout=layout, sample_format=sample_format
    )


def speech(source: AudioSource) -> np.ndarray:
    return np.concatenate(list(source.speech_blocks()))


def test_every_format_gives_the_same_speech(sound: Path) -> None:
    """Any format, rate and number of channels gives the tone as mono at 16 kHz, and facts of its own."""
    codec, rate, layout, _ = SOUNDS[sound.name]
    source = AudioSource(sound)
    assert (source.rate, source.channels) == (rate, {"mono": 1, "stereo": 2, "5.1": 6}[layout])
    assert source.codec in codec
    samples = speech(source)
    assert samples.dtype == np.float32
    assert abs(len(samples) - source.duration * AUDIO_SAMPLE_RATE) <= 1
    assert source.duration == pytest.approx(0.5, abs=0.15)  # codecs pad to whole packets, with delay in raw streams
    middle = samples[3_200:4_800]  # ten times 440 Hz fit four times; amplitude 0.4
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.4 / np.sqrt(2), rel=0.1)  # 8 bits, lossy codecs
    assert source.warnings == []
    assert source.is_clean


def test_blocks_are_consecutive_and_repeatable(tmp_path: Path) -> None:
    """Blocks have the size asked for but the last, and come again the same."""
    source = AudioSource(write_sound(tmp_path / "sound.wav", tone(0.55)))
    blocks = list(source.speech_blocks(1_000))
    assert [len(block) for block in blocks] == [1_000] * 8 + [800]
    np.testing.assert_allclose(np.concatenate(blocks), tone(0.55), atol=2e-5)  # 16-bit samples
    np.testing.assert_array_equal(np.concatenate(blocks), speech(source))


def test_mono_is_the_average_of_all_channels(tmp_path: Path) -> None:
    """Two equal channels give the same, one silent channel halves the other."""
    one = tone(0.2, 16_000)
    equal = AudioSource(write_sound(tmp_path / "a.wav", np.stack([one, one]), layout="stereo"))
    np.testing.assert_allclose(speech(equal), one, atol=1e-4)
    halved = AudioSource(write_sound(tmp_path / "b.wav", np.stack([one, 0 * one]), layout="stereo"))
    np.testing.assert_allclose(speech(halved), one / 2, atol=5e-5)


def test_resampling_keeps_times(tmp_path: Path) -> None:
    """A sound stays where it is in time, at any rate."""
    for rate in (8_000, 11_025, 44_100, 48_000):
        source = AudioSource(write_sound(tmp_path / f"{rate}.wav", burst(1.0, 0.5, rate), rate=rate))
        loud = np.flatnonzero(np.abs(speech(source)) > 0.2)
        assert loud[0] / AUDIO_SAMPLE_RATE == pytest.approx(0.5, abs=0.001)


def test_silence_and_direct_current_pass(tmp_path: Path) -> None:
    """All-silent, very quiet and constant audio are speech like any other; what cannot be heard is warned about."""
    for name, samples in [("a", np.zeros(8_000)), ("b", np.full(8_000, 1e-4)), ("c", np.full(8_000, 0.5))]:
        source = AudioSource(write_sound(tmp_path / f"{name}.wav", samples))
        np.testing.assert_allclose(speech(source), samples, atol=4e-5)
        assert ["it is silent, or nearly so" in line for line in source.warnings] == [True] * (name in "ab")


def test_nan_and_infinity_become_silence(tmp_path: Path) -> None:
    """Samples that are no numbers are silent and warned about; the rest stays, and the file is not to be copied."""
    samples = tone(0.3)
    samples[1_000:1_010] = np.nan
    samples[2_000] = np.inf
    source = AudioSource(write_sound(tmp_path / "sound.wav", samples, codec="pcm_f32le"))
    result = speech(source)
    assert np.isfinite(result).all()
    assert (result[1_000:1_010] == 0).all()
    assert result[2_000] == 0
    np.testing.assert_allclose(result[3_000:], samples[3_000:])
    assert source.warnings == [
        "sound.wav: samples that are not numbers (NaN or infinite) or beyond all measure were replaced by silence"
    ]
    assert not source.is_clean


def test_a_truncated_sound_gives_what_is_there(tmp_path: Path) -> None:
    """A sound file that broke off is as long as what can be decoded."""
    path = write_sound(tmp_path / "sound.wav", tone(1.0))
    path.write_bytes(path.read_bytes()[:16_044])
    assert AudioSource(path).duration == pytest.approx(0.5, abs=0.01)  # the header takes a few samples' place


def test_a_sound_whose_clock_jumps_is_joined(tmp_path: Path) -> None:
    """A jump of a minute between two recordings in a transport stream is no minute of silence; nothing is copied."""
    parts = [write_sound(tmp_path / f"{at}.ts", tone(1.0, 48_000), rate=48_000, codec="mp2", start_s=at)
             for at in (0, 61)]  # fmt: skip
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    audio = AudioSource(joined)
    assert audio.duration == pytest.approx(2.0, abs=0.1)
    assert audio.warnings == ["joined.ts: the clock of its timestamps jumps; the parts were joined without gaps"]
    assert not audio.is_clean


def test_damaged_packets_are_skipped_with_a_warning(tmp_path: Path) -> None:
    """Destroyed bytes in a compressed sound are survived and said."""
    path = write_sound(tmp_path / "sound.m4a", np.random.default_rng(0).normal(0, 0.1, 32_000), codec="aac")
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 4_000
    data[middle : middle + 400] = np.random.default_rng(1).bytes(400)
    path.write_bytes(data)
    source = AudioSource(path)
    assert source.duration == pytest.approx(2.0, abs=0.7)
    assert len(speech(source)) == pytest.approx(source.duration * AUDIO_SAMPLE_RATE, abs=1)
    assert len(source.warnings) == 1


def test_a_videos_sound_can_be_the_speech(media_dir: Path) -> None:
    """With a video given as audio, its first audio stream is used."""
    source = AudioSource(media_dir / "demo1_video.mp4")
    assert (source.codec, source.rate, source.channels) == ("aac", 44_100, 2)
    assert source.duration == pytest.approx(10.008, abs=0.001)
    assert np.abs(speech(source)).max() > 0.05


def test_more_channels_than_a_frame_names_are_read(tmp_path: Path) -> None:
    """Sixteen channels, each stored by itself, are averaged like two."""
    samples = np.tile(tone(0.5, 48_000), (16, 1))
    path = write_sound(tmp_path / "many.wv", samples, rate=48_000, codec="wavpack", layout="16 channels")
    source = AudioSource(path)
    assert source.channels == 16
    difference = speech(source)[1_000:7_000] - tone(0.5)[1_000:7_000]
    assert np.abs(difference).max() < 5e-3  # the encoder loses some


def test_an_implausible_rate_fails(tmp_path: Path) -> None:
    """A damaged header that claims a rate of gigahertz is refused, not resampled for minutes."""
    path = write_sound(tmp_path / "sound.wav", tone(0.2))
    data = bytearray(path.read_bytes())
    data[24:28] = (1_500_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(MediaError, match="got 1500000000 Hz"):
        AudioSource(path)


def test_a_change_of_channels_on_the_way_is_evened_out(tmp_path: Path) -> None:
    """A stream that turns from mono to stereo on the way stays what it began as."""
    one = write_sound(tmp_path / "one.mp3", tone(0.5), codec="libmp3lame").read_bytes()
    two = write_sound(
        tmp_path / "two.mp3", np.tile(tone(0.5), (2, 1)), codec="libmp3lame", layout="stereo"
    ).read_bytes()
    (tmp_path / "both.mp3").write_bytes(one + two)
    source = AudioSource(tmp_path / "both.mp3")
    assert source.channels == 1
    assert source.duration == pytest.approx(1.0, abs=0.2)
    assert {frame.layout.name for frame in source.frames()} == {"mono"}
    assert len(speech(source)) == pytest.approx(source.duration * AUDIO_SAMPLE_RATE, abs=1)


def test_windows_hold_the_speech_and_zeros_around_it(tmp_path: Path) -> None:
    """Windows may be read in any order and overlap freely; outside the audio they hold zeros."""
    samples = tone(1.0)
    source = AudioSource(write_sound(tmp_path / "sound.wav", samples, codec="pcm_f32le"))
    padded = np.concatenate([np.zeros(5_000, np.float32), samples, np.zeros(40_000, np.float32)])
    for start, stop in [(16_000, 16_500), (4_000, 40_000), (-5_000, 3_000), (0, 1), (-100, 9_000), (4_000, 12_000),
                        (15_999, 16_001), (30_000, 30_010), (-300, -200)]:  # fmt: skip
        np.testing.assert_allclose(source.window(start, stop), padded[start + 5_000 : stop + 5_000], atol=1e-6)


def test_windows_fail_when_empty(tmp_path: Path) -> None:
    """A window without a sample is refused."""
    source = AudioSource(write_sound(tmp_path / "sound.wav", tone(1.0)))
    with pytest.raises(ValueError, match="window: expected an end after the start, got 9000, 9000"):
        source.window(9_000, 9_000)


@pytest.mark.parametrize("output", [None, Path("out.webm")])
@pytest.mark.parametrize("right", [-1.0, -0.9])
def test_opposite_channels_do_not_silence_the_speech(tmp_path: Path, output: Path | None, right: float) -> None:
    """Where the average of the channels cancels out, the louder one is taken, with a warning."""
    speech = tone(1.0)
    path = write_sound(tmp_path / "speech.wav", np.stack([speech, right * speech]), layout="stereo")
    with AudioSource(path, output) as audio:
        assert audio.warnings == ["speech.wav: its channels cancel each other out; the lips follow channel 1 alone"]
        np.testing.assert_allclose(audio.window(0, audio.speech_length), speech, atol=1e-4)
        assert sum(frame.samples for frame in audio.frames()) == len(speech)


def test_one_loud_channel_of_six_is_no_cancellation(tmp_path: Path) -> None:
    """Speech in the centre channel alone, as in films, stays the average."""
    samples = np.zeros((6, 16_000), np.float32)
    samples[2] = tone(1.0)
    path = write_sound(tmp_path / "speech.wav", samples, layout="5.1")
    with AudioSource(path) as audio:
        assert audio.warnings == []
        np.testing.assert_allclose(audio.window(0, 16_000), tone(1.0) / 6, atol=1e-4)


def test_silent_speech_is_warned_about(tmp_path: Path) -> None:
    """Silence moves no mouth, and that is said."""
    with AudioSource(write_sound(tmp_path / "speech.wav", 1e-4 * tone(1.0))) as audio:
        assert audio.warnings == ["speech.wav: it is silent, or nearly so, and the mouth will hardly move"]


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
def test_absurd_samples_become_silence(tmp_path: Path, codec: str) -> None:
    """Samples near 1e29, as of damaged files, are replaced like infinite ones."""
    samples = tone(1.0)
    samples[5_000:5_100] = -1e29
    with AudioSource(write_sound(tmp_path / "speech.wav", samples, codec=codec)) as audio:
        assert not audio.is_clean
        assert np.abs(audio.window(0, 16_000)).max() < 1
        assert any("beyond all measure" in line for line in audio.warnings)
