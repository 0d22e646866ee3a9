"""Written files: pixel formats, timestamps, colours, rotation, audio."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from client.media import AudioSource, VideoSource, VideoWriter
from tests.media_clips import (
    RATE,
    audio_codec,
    burst,
    copy_video,
    frame_times,
    leftovers,
    pattern,
    read_frames,
    read_sound,
    tone,
    video_codec,
    write_clip,
    write_sound,
)


def native_planes(path: Path) -> list[list[np.ndarray]]:
    """Every sample of every frame, as decoded."""
    return [[np.array(plane).reshape(plane.height, -1) for plane in frame.planes] for frame in read_frames(path)]


def mean_difference(path: Path, frame: int = 0) -> float:
    shown = list(VideoSource(path).frames())[frame].picture.rgb().astype(int)
    return float(np.abs(shown[:48, :64] - pattern(frame)).mean())


CONTAINERS = {
    "out.mp4": "h264", "out.m4v": "h264", "out.mov": "h264", "out.mkv": "h264", "out.webm": "vp9", "out.avi": "h264",
    "out.ts": "h264", "out.flv": "h264",
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_written(tmp_path: Path, name: str) -> None:
    """Each known extension gives its container with a fitting codec, all frames at their times, and the speech."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4"))
    audio = AudioSource(write_sound(tmp_path / "speech.wav", tone(0.4, 22_050), rate=22_050))
    output = tmp_path / name
    warnings = copy_video(source, output, audio)
    assert video_codec(output) == CONTAINERS[name]
    times = np.array(frame_times(output))
    np.testing.assert_allclose(times - times[0], np.arange(10) / RATE, atol=0.001)  # mkv and flv count milliseconds
    assert mean_difference(output, 4) < 6
    samples, _, rate = read_sound(output)
    if name != "out.webm":  # Opus knows no 22050 Hz
        assert rate == 22_050
        assert warnings == []
    else:
        assert warnings == ["speech.wav: its rate of 22050 Hz became 24000 Hz, as opus does not support it"]
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.15)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [
    ("out.mp4", "hevc", "yuv420p"), ("out.mkv", "ffv1", "yuv420p"), ("out.mov", "prores", "yuv422p10le"),
    ("out.webm", "av1", "yuv420p"), ("out.mkv", "vp9", "yuv420p"), ("out.avi", "ffv1", "yuv420p"),
])  # fmt: skip
def test_every_codec_is_written(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    """Each codec that can be asked for gives its stream, in the nearest pixel format it knows."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", size=(128, 96)))
    output = tmp_path / name
    warnings = copy_video(source, output, codec=codec)
    frames = read_frames(output)
    assert video_codec(output) == codec
    assert (len(frames), frames[0].format.name) == (10, pix_fmt)
    assert bool(warnings) == (pix_fmt != "yuv420p")


@pytest.mark.parametrize(("pix_fmt", "codec", "name", "expected"), [
    ("yuv420p", "libx264", "out.mp4", ("h264", "yuv420p")),
    ("yuv422p", "libx264", "out.mp4", ("h264", "yuv422p")),
    ("yuv444p", "libx264", "out.mp4", ("h264", "yuv444p")),
    ("yuv420p10le", "libx264", "out.mp4", ("hevc", "yuv420p10le")),
    ("yuv422p10le", "libx264", "out.mkv", ("hevc", "yuv422p10le")),
    ("yuv420p10le", "libx264", "out.webm", ("av1", "yuv420p10le")),
    ("yuv444p16le", "ffv1", "out.mp4", ("hevc", "yuv444p12le")),
    ("gbrp10le", "ffv1", "out.mp4", ("hevc", "yuv420p10le")),
    ("yuv440p", "ffv1", "out.mp4", ("h264", "yuv444p")),
])  # fmt: skip
def test_depth_and_chroma_are_kept(
    tmp_path: Path, pix_fmt: str, codec: str, name: str, expected: tuple[str, str]
) -> None:
    """The pixel format stays where the codec knows it; else the nearest is taken, with a warning."""
    source = VideoSource(write_clip(tmp_path / "clip.mkv", codec=codec, pix_fmt=pix_fmt, size=(128, 96)))
    output = tmp_path / name
    warnings = copy_video(source, output)
    assert (video_codec(output), read_frames(output)[0].format.name) == expected
    assert bool(warnings) == (pix_fmt != expected[1])


@pytest.mark.parametrize(("color_range", "color_space"), [(1, 1), (2, 1), (1, 9), (1, 6), (2, 5), (0, 2)])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
def test_colour_tags_are_kept(tmp_path: Path, name: str, color_range: int, color_space: int) -> None:
    """Range, matrix, primaries and transfer come out as they went in, and so do the samples' levels."""
    clip = write_clip(tmp_path / "clip.mp4", color_range=color_range, color_space=color_space)
    output = tmp_path / name
    copy_video(VideoSource(clip), output)
    before, after = VideoSource(clip), VideoSource(output)
    if color_range and color_space != 2:
        assert after.tags == before.tags
    assert after.tags.is_full_range == before.tags.is_full_range
    for old, new in zip(before.frames(), after.frames(), strict=True):
        assert np.abs(old.picture.rgb().astype(int) - new.picture.rgb()).mean() < 3


@pytest.mark.parametrize("rotation", [90, 180, -90])
@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.webm", "out.avi", "out.ts"])
def test_rotation_is_kept(tmp_path: Path, name: str, rotation: int) -> None:
    """A turned clip stays turned; containers that cannot say so get upright pixels."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", rotation=rotation, pix_fmt="yuv420p"))
    copy_video(source, tmp_path / name)
    written = VideoSource(tmp_path / name)
    assert (written.width, written.height) == (source.width, source.height)
    turned_by_pixels = name in ("out.avi", "out.ts")
    assert written.facts.orientation.is_turned != turned_by_pixels
    shown = next(written.frames()).picture.rgb().astype(int)
    assert np.abs(shown - np.rot90(pattern(0), rotation // 90)).mean() < 6


def test_mirroring_and_aspect_ratio_are_kept(tmp_path: Path) -> None:
    """A mirrored clip with oblong pixels keeps both."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", rotation=90, flip=True, aspect=Fraction(4, 3)))
    copy_video(source, tmp_path / "out.mp4")
    written = VideoSource(tmp_path / "out.mp4")
    assert written.facts.orientation == source.facts.orientation
    assert written.facts.sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
def test_variable_rate_is_kept(tmp_path: Path, name: str) -> None:
    """Uneven timestamps come out as they went in, B-frames or not."""
    pts = [0, 130, 1300, 2600, 5200, 5330, 9100, 9230]
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=8, pts=pts))
    copy_video(source, tmp_path / name, preset="medium")
    tolerance = 0.0006 if name == "out.mkv" else 1e-9  # mkv counts milliseconds
    np.testing.assert_allclose(frame_times(tmp_path / name), np.array(pts) / 12_800, atol=tolerance)


def test_the_last_frame_keeps_its_duration(tmp_path: Path) -> None:
    """The video is as long as its frames' durations say."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=8))
    copy_video(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(8, RATE)


@pytest.mark.parametrize(("pix_fmt", "name", "codec", "expected"), [
    ("yuv420p", "out.mp4", "auto", "h264"), ("yuv444p", "out.mkv", "auto", "ffv1"),
    ("yuv420p10le", "out.mp4", "auto", "hevc"), ("yuv422p10le", "out.mkv", "auto", "ffv1"),
    ("yuv420p", "out.webm", "auto", "vp9"), ("yuv420p", "out.mov", "auto", "h264"),
    ("yuv420p", "out.mkv", "h264", "h264"), ("yuv444p16le", "out.mkv", "auto", "ffv1"),
    ("bgr0", "out.mkv", "auto", "ffv1"), ("bgr0", "out.mp4", "auto", "h264"),
])  # fmt: skip
def test_lossless_is_bit_exact(tmp_path: Path, pix_fmt: str, name: str, codec: str, expected: str) -> None:
    """With lossless the decoded output equals the frames bit for bit."""
    clip = write_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt=pix_fmt, size=(128, 96), frames=5)
    output = tmp_path / name
    assert copy_video(VideoSource(clip), output, lossless=True, codec=codec) == []
    assert video_codec(output) == expected
    for old, new in zip(VideoSource(clip).frames(), VideoSource(output).frames(), strict=True):
        assert old.picture.native == new.picture.native
        for plane in range(3):
            one, other = (np.array(frame.picture.frame.planes[plane]) for frame in (old, new))
            stride = old.picture.frame.planes[plane].line_size
            visible = old.picture.frame.planes[plane].width * old.picture.native.dtype.itemsize
            np.testing.assert_array_equal(
                one.reshape(-1, stride)[:, :visible],
                other.reshape(-1, new.picture.frame.planes[plane].line_size)[:, :visible],
            )


@pytest.mark.parametrize(("size", "written"), [((65, 47), (66, 48)), ((4, 4), (4, 4)), ((1, 1), (2, 2))])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_odd_and_tiny_sizes_are_written(
    tmp_path: Path, name: str, size: tuple[int, int], written: tuple[int, int]
) -> None:
    """Odd sizes grow by a repeated row or column, with a warning; tiny ones are written."""
    source = VideoSource(write_clip(tmp_path / "clip.mkv", codec="ffv1", size=size, frames=3))
    warnings = copy_video(source, tmp_path / name)
    frame = read_frames(tmp_path / name)[0]
    assert (frame.width, frame.height) == written
    assert any("odd size" in line for line in warnings) == (size != written)


def test_odd_sizes_stay_where_the_codec_allows(tmp_path: Path) -> None:
    """Codecs without such a limit keep odd sizes."""
    source = VideoSource(write_clip(tmp_path / "clip.mkv", codec="ffv1", size=(65, 47), frames=3))
    assert copy_video(source, tmp_path / "out.webm") == []
    assert VideoSource(tmp_path / "out.webm").width == 65


def test_a_still_becomes_a_playable_video(tmp_path: Path) -> None:
    """A picture becomes 4:2:0 video tagged as such, in its colours, for as long as the speech."""
    source = VideoSource(write_clip(tmp_path / "still.png", frames=1, codec="png", pix_fmt="rgb24"))
    audio = AudioSource(write_sound(tmp_path / "speech.wav", tone(0.4)))
    assert copy_video(source, tmp_path / "out.mp4", audio) == []
    frames = read_frames(tmp_path / "out.mp4")
    assert (len(frames), frames[0].format.name) == (10, "yuv420p")
    assert VideoSource(tmp_path / "out.mp4").tags.space == 1
    assert mean_difference(tmp_path / "out.mp4") < 3


COPIES = [
    ("speech.m4a", "aac", "out.mp4", True), ("speech.m4a", "aac", "out.mov", True),
    ("speech.m4a", "aac", "out.mkv", True), ("speech.m4a", "aac", "out.ts", True),
    ("speech.aac", "aac", "out.mp4", True), ("speech.mp3", "libmp3lame", "out.mp4", True),
    ("speech.mp3", "libmp3lame", "out.mkv", True), ("speech.opus", "libopus", "out.webm", True),
    ("speech.opus", "libopus", "out.mp4", True), ("speech.flac", "flac", "out.mp4", True),
    ("speech.wav", "pcm_s16le", "out.mov", True), ("speech.wav", "pcm_s16le", "out.mkv", True),
    ("speech.wav", "pcm_s16le", "out.mp4", False), ("speech.m4a", "aac", "out.webm", False),
    ("speech.wav", "pcm_s16le", "out.webm", False), ("speech.m4a", "aac", "out.avi", False),
    ("speech.wav", "pcm_s16le", "out.ts", False), ("speech.wav", "pcm_s16le", "out.flv", False),
]  # fmt: skip


@pytest.mark.parametrize(("sound", "codec", "name", "copied"), COPIES)
def test_audio_is_in_place(tmp_path: Path, sound: str, codec: str, name: str, copied: bool) -> None:
    """Audio is copied where players take it and else encoded, and a sound is heard when it should be."""
    rate = 48_000
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    audio = AudioSource(write_sound(tmp_path / sound, burst(1.0, 0.5, rate), rate=rate, codec=codec))
    speech = np.concatenate(list(audio.speech_blocks()))
    expected = np.flatnonzero(np.abs(speech) > 0.3)[0] / 16_000  # raw aac streams begin with encoder delay
    output = tmp_path / name
    copy_video(source, output, audio)
    assert (audio_codec(output) == audio.codec) == copied
    samples, first, written_rate = read_sound(output)
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


def test_mp4_starts_fast(tmp_path: Path) -> None:
    """An mp4 has its index in front, so that it plays while loading."""
    copy_video(VideoSource(write_clip(tmp_path / "clip.mp4")), tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_hevc_in_mp4_is_tagged_for_players(tmp_path: Path) -> None:
    """HEVC in mp4 carries the tag that Apple's players insist on."""
    copy_video(VideoSource(write_clip(tmp_path / "clip.mp4", size=(128, 96))), tmp_path / "out.mp4", codec="hevc")
    assert b"hvc1" in (tmp_path / "out.mp4").read_bytes()


def test_repeated_pictures_are_written(tmp_path: Path) -> None:
    """The same picture object may be written again and again."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4"))
    picture = next(source.frames()).picture
    with VideoWriter(tmp_path / "out.mp4", source) as writer:
        for number in range(5):
            writer.write(picture, number * 512, 512)
    assert len(read_frames(tmp_path / "out.mp4")) == 5
