"""Written files: pixel formats, timestamps, colours, rotation, audio."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from client.media import AudioSource, VideoSource, VideoWriter, timeline
from tests.media_clips import (
    RATE,
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
    states_no_colours = "colour tags" in "".join(warnings)
    assert states_no_colours == (name == "out.avi")
    assert bool(warnings) == (pix_fmt != "yuv420p" or states_no_colours)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may raise priorities")
def test_av1_does_not_take_over_the_machine(tmp_path: Path) -> None:
    """No thread keeps the real-time priority that the encoder asks for as root, so neither does a child."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", size=(128, 96), frames=3))
    with VideoWriter(tmp_path / "out.mkv", source, codec="av1") as writer:
        for frame in timeline(source, 0.0, "cut"):
            writer.write(frame.picture, frame.pts, frame.duration)
        policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
    assert policies == {os.SCHED_OTHER}


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


@pytest.mark.parametrize("transfer", [16, 18])  # PQ, HLG
@pytest.mark.parametrize(("name", "codec"), [("out.mov", "prores"), ("out.mkv", "ffv1"), ("out.mp4", "hevc")])
def test_changed_pictures_keep_hdr_colours(tmp_path: Path, transfer: int, name: str, codec: str) -> None:
    """Pictures that were changed have the tags of the others, in codecs that write them with each frame, too."""
    clip = write_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt="yuv422p10le", size=(128, 96), frames=3,
                      color_space=9, transfer=transfer)  # fmt: skip
    source = VideoSource(clip)
    with VideoWriter(tmp_path / name, source, codec=codec) as writer:
        for frame in source.frames():
            writer.write(frame.picture.copy(), frame.pts, frame.duration)
    written = VideoSource(tmp_path / name).tags
    assert (written.space, written.primaries, written.transfer) == (9, 9, transfer)


def test_colours_that_a_container_cannot_state_are_named(tmp_path: Path) -> None:
    """An avi file states no colours, and neither does FFV1 in it."""
    clip = write_clip(tmp_path / "clip.mkv", codec="ffv1", color_space=9)
    warnings = copy_video(VideoSource(clip), tmp_path / "out.avi", codec="ffv1")
    assert warnings == ["clip.mkv: left out of the output: its colour tags"]


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


@pytest.mark.parametrize(("name", "codec"), [
    ("out.mp4", "av1"), ("out.mov", "prores"), ("out.mkv", "h264"), ("out.mkv", "hevc"), ("out.avi", "auto"),
    ("out.ts", "auto"), ("out.flv", "auto"), ("out.webm", "auto"), ("out.mkv", "av1"), ("out.mkv", "ffv1"),
    ("out.mkv", "vp9"),
])  # fmt: skip
@pytest.mark.parametrize("aspect", [Fraction(16, 15), Fraction(3, 4)])
def test_oblong_pixels_are_shown_as_they_were(tmp_path: Path, name: str, codec: str, aspect: Fraction) -> None:
    """The picture keeps its proportions: by its aspect ratio, or scaled to square pixels with a warning."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=3, size=(144, 96), aspect=aspect))
    warnings = copy_video(source, tmp_path / name, codec=codec)
    written = VideoSource(tmp_path / name)
    assert written.width * written.facts.sample_aspect_ratio / written.height == pytest.approx(1.5 * aspect, rel=0.01)
    scaled = written.facts.sample_aspect_ratio == 1
    assert any("were scaled to square ones, " in line for line in warnings) == scaled
    shown = next(written.frames()).picture.rgb().astype(int)
    assert np.abs(shown - pattern(0, written.width, written.height)).mean() < 6


def test_turned_oblong_pixels_are_scaled_upright(tmp_path: Path) -> None:
    """Where neither the rotation nor the shape of pixels can be stored, the pixels are turned first."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", size=(144, 96), rotation=90, aspect=Fraction(4, 3)))
    copy_video(source, tmp_path / "out.avi", codec="ffv1")
    written = VideoSource(tmp_path / "out.avi")
    assert (written.width, written.height) == (96, 192)


@pytest.mark.parametrize(("lossless", "aspect"), [(True, Fraction(16, 15)), (False, Fraction(9))])
def test_oblong_pixels_are_not_scaled_at_any_price(tmp_path: Path, lossless: bool, aspect: Fraction) -> None:
    """Lossless files keep the pixels as they are, and implausible shapes are ignored; both are warned about."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=3, aspect=aspect))
    warnings = copy_video(source, tmp_path / "out.mkv", codec="ffv1", lossless=lossless)
    assert ["will be shown square" in line for line in warnings] == [True]
    assert VideoSource(tmp_path / "out.mkv").width == 64


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


@pytest.mark.parametrize("size", [(387, 384), (387, 385), (381, 387), (383, 1079), (1921, 1079)])
def test_lossless_takes_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    """Sizes that cannot be cut into four equal parts are written, too."""
    source = VideoSource(write_clip(tmp_path / "clip.mkv", codec="ffv1", options={"level": "1"}, size=size, frames=1))
    assert copy_video(source, tmp_path / "out.mkv", lossless=True) == []
    before, after = (next(VideoSource(path).frames()).picture for path in (source.path, tmp_path / "out.mkv"))
    np.testing.assert_array_equal(before.rgb(), after.rgb())


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


def test_mp4_starts_fast(tmp_path: Path) -> None:
    """An mp4 has its index in front, so that it plays while loading."""
    copy_video(VideoSource(write_clip(tmp_path / "clip.mp4")), tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "hevc"), ("out.mkv", "hevc"), ("out.mp4", "h264")])
def test_very_short_videos_are_written(tmp_path: Path, frames: int, name: str, codec: str) -> None:
    """A video of one or two frames has these frames at their times, with an encoder that reorders frames, too."""
    source = VideoSource(write_clip(tmp_path / "clip.mkv", codec="ffv1", size=(128, 96), frames=5))
    with VideoWriter(tmp_path / name, source, codec=codec) as writer:
        for frame in islice(source.frames(), frames):
            writer.write(frame.picture, frame.pts, frame.duration)
    np.testing.assert_allclose(frame_times(tmp_path / name), np.arange(frames) / RATE, atol=0.001)


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
