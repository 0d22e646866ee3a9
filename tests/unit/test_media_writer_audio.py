"""The sound of written videos: copied or encoded, in place, whole or cut."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from client.media import AudioSource, VideoSource
from tests.media_clips import (
    audio_codec,
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

PACKET_S = 1152 / 48_000  # the longest packet of these codecs, MP3's
COPIES = [
    ("speech.m4a", "aac", "out.mp4", True), ("speech.m4a", "aac", "out.mov", True),
    ("speech.m4a", "aac", "out.mkv", True), ("speech.m4a", "aac", "out.ts", True),
    ("speech.aac", "aac", "out.mp4", True), ("speech.aac", "aac", "out.mkv", True),
    ("speech.aac", "aac", "out.flv", True), ("speech.aac", "aac", "out.mov", True),
    ("speech.aac", "aac", "out.ts", True), ("speech.aac", "aac", "out.webm", False),
    ("speech.aac", "aac", "out.avi", False), ("speech.ts", "aac", "out.mkv", True),
    ("speech.ts", "aac", "out.flv", True), ("speech.ts", "aac", "out.mp4", True),
    ("speech.ts", "aac", "out.mov", True), ("speech.ts", "aac", "out.ts", True),
    ("speech.ts", "aac", "out.webm", False), ("speech.ts", "aac", "out.avi", False),
    ("speech.mp3", "libmp3lame", "out.mp4", True),
    ("speech.mp3", "libmp3lame", "out.mkv", True), ("speech.opus", "libopus", "out.webm", True),
    ("speech.opus", "libopus", "out.mp4", True), ("speech.flac", "flac", "out.mp4", True),
    ("speech.wav", "pcm_s16le", "out.mov", True), ("speech.wav", "pcm_s16le", "out.mkv", True),
    ("speech.wav", "pcm_s16le", "out.mp4", False), ("speech.m4a", "aac", "out.webm", False),
    ("speech.wav", "pcm_s16le", "out.webm", False), ("speech.m4a", "aac", "out.avi", False),
    ("speech.wav", "pcm_s16le", "out.ts", False), ("speech.wav", "pcm_s16le", "out.flv", False),
]  # fmt: skip


@pytest.mark.parametrize(("sound", "codec", "name", "copied"), COPIES)
def test_audio_is_in_place(tmp_path: Path, sound: str, codec: str, name: str, copied: bool) -> None:
    """Audio is copied where players take it and else encoded; it is as long as before, and heard when it should be."""
    rate = 48_000
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    audio = AudioSource(write_sound(tmp_path / sound, burst(1.0, 0.5, rate), rate=rate, codec=codec))
    speech = np.concatenate(list(audio.speech_blocks()))
    expected = np.flatnonzero(np.abs(speech) > 0.3)[0] / 16_000  # raw aac streams begin with encoder delay
    output = tmp_path / name
    copy_video(source, output, audio)
    assert (audio_codec(output) == audio.codec) == copied
    samples, first, written_rate = read_sound(output)
    before, _, _ = read_sound(audio.path)
    padding_s = samples.shape[1] / written_rate - before.shape[1] / rate
    assert 0 <= round(padding_s, 6) <= PACKET_S
    heard = first + np.flatnonzero(np.abs(samples[0]) > 0.3)[0] / written_rate
    tolerance = 0.041 if name == "out.avi" else 0.005  # avi has no timestamps: readers guess; lossy codecs smear
    assert heard - frame_times(output)[0] == pytest.approx(expected, abs=tolerance)


def test_audio_that_the_container_refuses_is_encoded(tmp_path: Path) -> None:
    """MP3 at 8 kHz may not lie in an mp4: it is encoded, and the job goes on."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    audio = AudioSource(write_sound(tmp_path / "speech.mp3", tone(1.0, 8_000), rate=8_000, codec="libmp3lame"))
    assert copy_video(source, tmp_path / "out.mp4", audio) == []
    assert audio_codec(tmp_path / "out.mp4") == "aac"
    assert AudioSource(tmp_path / "out.mp4").rate == 8_000
    assert leftovers(tmp_path) == []


def test_copied_packets_are_untouched(tmp_path: Path) -> None:
    """Copying leaves every sample as the speech file decodes."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    audio = AudioSource(write_sound(tmp_path / "speech.m4a", tone(1.0, 44_100), rate=44_100, codec="aac"))
    copy_video(source, tmp_path / "out.mp4", audio)
    before, after = read_sound(audio.path)[0], read_sound(tmp_path / "out.mp4")[0]
    np.testing.assert_array_equal(before, after[:, : before.shape[1]])


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "alac"), ("out.mov", "pcm_s24le"), ("out.mkv", "pcm_s24le")])
def test_lossless_keeps_every_audio_sample(tmp_path: Path, name: str, codec: str) -> None:
    """With lossless the speech's samples stay as they are, 24 bits deep, at any rate."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    samples = np.stack([tone(1.0, 96_000), tone(1.0, 96_000, 660)])
    audio = AudioSource(write_sound(tmp_path / "speech.wav", samples, rate=96_000, codec="pcm_s24le", layout="stereo"))
    copy_video(source, tmp_path / name, audio, lossless=True)
    assert audio_codec(tmp_path / name) == codec
    written, _, rate = read_sound(tmp_path / name)
    assert rate == 96_000
    np.testing.assert_array_equal(written[:, :96_000], read_sound(audio.path)[0])


@pytest.mark.parametrize(("sound", "codec"), [
    ("speech.mov", "pcm_s16be"), ("speech.mov", "pcm_s24be"), ("speech.wav", "adpcm_ms"), ("speech.wav", "pcm_f64le"),
])  # fmt: skip
def test_pcm_that_mkv_does_not_hold_stays_exact(tmp_path: Path, sound: str, codec: str) -> None:
    """PCM in other layouts and ADPCM become FLAC: as decoded, or for floats to 24 bits."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    audio = AudioSource(write_sound(tmp_path / sound, tone(1.0), codec=codec))
    assert copy_video(source, tmp_path / "out.mkv", audio) == []
    assert audio_codec(tmp_path / "out.mkv") == "flac"
    before, after = read_sound(audio.path)[0], read_sound(tmp_path / "out.mkv")[0]
    tolerance = 2**-23 if codec == "pcm_f64le" else 0
    np.testing.assert_allclose(after[:, : before.shape[1]], before, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("rate", "layout", "channels"), [(8_000, "mono", 1), (44_100, "stereo", 2), (48_000, "5.1", 6)]
)
def test_encoded_audio_keeps_rate_and_channels(tmp_path: Path, rate: int, layout: str, channels: int) -> None:
    """Encoded audio has the speech's own rate and channels."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    samples = np.stack([tone(1.0, rate, 300 + 100 * channel) for channel in range(channels)])
    audio = AudioSource(write_sound(tmp_path / "speech.wav", samples, rate=rate, layout=layout))
    assert copy_video(source, tmp_path / "out.mp4", audio) == []
    written = AudioSource(tmp_path / "out.mp4")
    assert (written.rate, written.channels, written.layout) == (rate, channels, layout)
    assert written.duration == pytest.approx(1.0, abs=1024 / rate)


def test_more_channels_than_encoders_take_are_mixed(tmp_path: Path) -> None:
    """Sixteen channels become stereo, and that is said."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    samples = np.tile(tone(1.0, 48_000), (16, 1))
    path = write_sound(tmp_path / "many.wv", samples, rate=48_000, codec="wavpack", layout="16 channels")
    assert copy_video(source, tmp_path / "out.mp4", AudioSource(path)) == [
        "many.wv: its 16 channels were mixed to stereo"
    ]
    assert AudioSource(tmp_path / "out.mp4").channels == 2


def test_nan_samples_are_never_written(tmp_path: Path) -> None:
    """A speech with NaN is encoded from its cleaned samples, not copied."""
    samples = tone(1.0)
    samples[5_000:5_100] = np.nan
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    audio = AudioSource(write_sound(tmp_path / "speech.wav", samples, codec="pcm_f32le"))
    copy_video(source, tmp_path / "out.mov", audio)
    assert np.isfinite(read_sound(tmp_path / "out.mov")[0]).all()


@pytest.mark.parametrize("sound", ["speech.wav", "speech.m4a"])
def test_cut_audio_ends_with_the_video(tmp_path: Path, sound: str) -> None:
    """With cut_audio a longer speech ends with the video, to the sample or to the packet."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=10))
    codec = "aac" if sound.endswith("m4a") else "pcm_s16le"
    audio = AudioSource(write_sound(tmp_path / sound, tone(2.0), codec=codec))
    copy_video(source, tmp_path / "out.mp4", audio, cut_audio=True)
    assert AudioSource(tmp_path / "out.mp4").duration == pytest.approx(0.4, abs=1024 / 16_000)
    assert len(read_frames(tmp_path / "out.mp4")) == 10


def test_a_longer_audio_is_written_whole(tmp_path: Path) -> None:
    """Without cut_audio the whole speech is in the output."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=10))
    audio = AudioSource(write_sound(tmp_path / "speech.wav", tone(2.0)))
    copy_video(source, tmp_path / "out.mp4", audio)
    assert AudioSource(tmp_path / "out.mp4").duration == pytest.approx(2.0, abs=1024 / 16_000)


def test_audio_and_video_are_interleaved(tmp_path: Path) -> None:
    """Packets lie in the file in the order of their times, within a second."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=100))
    audio = AudioSource(write_sound(tmp_path / "speech.wav", tone(4.0)))
    copy_video(source, tmp_path / "out.mp4", audio)
    with av.open(str(tmp_path / "out.mp4")) as container:
        packets = [packet for packet in container.demux() if packet.size]
    in_file = sorted(packets, key=lambda packet: packet.pos or 0)
    times = np.array([float(packet.dts * packet.time_base) for packet in in_file])
    assert (np.maximum.accumulate(times) - times).max() < 1.0


@pytest.mark.parametrize(("sound", "codec", "written"), [
    ("speech.wav", "pcm_s24le", "pcm_s24le"), ("speech.flac", "flac", "pcm_s24le"),
    ("speech.wav", "pcm_s16le", "pcm_s16le"), ("speech.m4a", "aac", "pcm_s16le"),
])  # fmt: skip
def test_sound_in_avi_is_as_deep_as_the_speech(tmp_path: Path, sound: str, codec: str, written: str) -> None:
    """Speech of 24 bits stays exact in avi; speech of 16 bits, and lossy speech, takes no more room than before."""
    deep = "s32" if codec == "flac" else None
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    path = write_sound(tmp_path / sound, tone(1.0, 48_000) / 3, rate=48_000, codec=codec, sample_format=deep)
    audio = AudioSource(path)
    assert copy_video(source, tmp_path / "out.avi", audio) == []
    assert audio_codec(tmp_path / "out.avi") == written
    if codec != "aac":
        before, after = read_sound(path)[0], read_sound(tmp_path / "out.avi")[0]
        np.testing.assert_array_equal(after[:, : before.shape[1]], before)
