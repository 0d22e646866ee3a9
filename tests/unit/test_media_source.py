"""Videos and stills as streams of frames: facts, timestamps, spans, damage."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from client.errors import MediaError, UsageError
from client.media import Orientation, VideoSource
from tests.media_clips import RATE, copy_video, pattern, shown_index, tone, write_clip

TICK = 512  # of a 12800th second: one frame at 25 per second
CLIPS = {
    "clip.mp4": ("libx264", "yuv420p"),
    "clip.mov": ("prores_ks", "yuv422p10le"),
    "clip.mkv": ("ffv1", "yuv444p16le"),
    "clip.webm": ("libvpx-vp9", "yuv420p"),
    "clip.avi": ("mpeg4", "yuv420p"),
    "clip.ts": ("libx264", "yuv420p"),
    "clip.gif": ("gif", "rgb8"),
    "deep.mp4": ("libx265", "yuv420p10le"),
}


@pytest.fixture(params=CLIPS)
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A clip of ten frames in each container."""
    codec, pix_fmt = CLIPS[request.param]
    time_base = Fraction(1, RATE if request.param.endswith("avi") else 12_800)  # avi counts frames
    return write_clip(tmp_path / request.param, codec=codec, pix_fmt=pix_fmt, options={"bf": "0"}, time_base=time_base)


def test_every_container_gives_all_frames_in_order(clip: Path) -> None:
    """All frames come, in order, evenly spaced, and as often as asked for."""
    source = VideoSource(clip)
    assert (source.width, source.height) == (64, 48)
    for _ in range(2):
        frames = list(source.frames())
        if clip.suffix != ".gif":  # 256 fixed colours cannot tell the patterns apart
            assert [shown_index(frame.picture.rgb()) for frame in frames] == list(range(10))
        assert [frame.index for frame in frames] == list(range(10))
        np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(10) / RATE, atol=0.001)  # mkv: ms
    assert source.warnings == []
    assert source.frame_estimate == 10
    assert source.duration == pytest.approx(0.4, abs=0.001)
    assert not source.is_still


def test_facts_of_a_clip(tmp_path: Path) -> None:
    """Format, colours, aspect ratio, rate and length are those of the file."""
    path = write_clip(tmp_path / "clip.mp4", pix_fmt="yuv422p10le", color_range=2, color_space=9, aspect=Fraction(4, 3))
    source = VideoSource(path)
    assert source.facts.pix_fmt == "yuv422p10le"
    assert source.bit_depth == 10
    assert (source.tags.range, source.tags.space, source.tags.primaries, source.tags.transfer) == (2, 9, 9, 9)
    assert source.facts.sample_aspect_ratio == Fraction(4, 3)
    assert (source.rate, source.time_base, source.frame_estimate) == (RATE, Fraction(1, 12_800), 10)
    assert source.duration == pytest.approx(0.4)


def test_variable_rate_keeps_every_timestamp(tmp_path: Path) -> None:
    """Timestamps and durations of a variable rate come through exactly."""
    pts = [0, 100, 1000, 1001, 5000, 5512, 9000]
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=7, pts=pts))
    frames = list(source.frames())
    assert [frame.pts for frame in frames] == pts
    assert [frame.duration for frame in frames][:-1] == list(np.diff(pts))
    assert source.warnings == []


@pytest.mark.parametrize(("rotation", "flip"), list(product((0, 90, 180, -90), (False, True))))
def test_rotated_clips_come_upright(tmp_path: Path, rotation: int, flip: bool) -> None:
    """A display matrix, mirroring included, is undone: size and pixels are as a player shows them."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=2, rotation=rotation, flip=flip))
    shown = next(source.frames()).picture.rgb().astype(int)
    upright = np.rot90(pattern(0), rotation // 90)
    expected = upright[:, ::-1] if flip else upright
    assert (source.height, source.width) == expected.shape[:2]
    assert np.abs(shown - expected).max() <= 10  # H.264 at high quality, shared chroma


def test_exif_orientation_of_a_photograph_is_honoured(tmp_path: Path) -> None:
    """A photograph that says it must be turned comes upright."""
    ok, coded = cv2.imencode(".jpg", pattern(0)[..., ::-1])
    assert ok
    plain = coded.tobytes()
    orientation = b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"  # tag 0x0112, one short: 6, turn clockwise
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + orientation + b"\x00\x00\x00\x00"
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:])
    source = VideoSource(photo)
    assert source.facts.orientation == Orientation(True, True, False)
    shown = next(source.frames()).picture.rgb().astype(int)
    assert np.abs(shown - np.rot90(pattern(0), -1)).max() <= 25  # JPEG


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [
    ("still.png", "png", "rgb24"), ("still.png", "png", "gray"), ("still.jpg", "mjpeg", "yuvj420p"),
    ("still.bmp", "bmp", "bgr24"), ("still.tiff", "tiff", "rgb24"), ("still.gif", "gif", "rgb8"),
    ("still.mp4", "libx264", "yuv420p"),
])  # fmt: skip
def test_single_pictures_are_stills(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    """A picture file, and a clip of one frame, is a still of one frame."""
    path = tmp_path / name
    if name.endswith(("mp4", "gif")):
        write_clip(path, frames=1, codec=codec, pix_fmt=pix_fmt)
    else:
        rgb = pattern(0)
        cv2.imwrite(str(path), rgb.mean(axis=2).astype(np.uint8) if pix_fmt == "gray" else rgb[..., ::-1])
    source = VideoSource(path)
    assert source.is_still
    assert source.frame_estimate == 1
    (frame,) = source.frames()
    assert (frame.picture.width, frame.picture.height) == (64, 48)
    if pix_fmt == "rgb24":
        np.testing.assert_array_equal(frame.picture.rgb(), pattern(0))
    with pytest.raises(UsageError, match="start, end: expected a video, got a single picture. Cut the audio"):
        VideoSource(path, end=1.0)


@pytest.mark.parametrize("size", [(4, 4), (16, 2), (65, 47)])
def test_tiny_and_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    """Any size is read as it is."""
    source = VideoSource(write_clip(tmp_path / "clip.mkv", frames=3, size=size, codec="ffv1"))
    assert [frame.picture.rgb().shape for frame in source.frames()] == [(size[1], size[0], 3)] * 3


def test_a_truncated_clip_gives_what_is_there(tmp_path: Path) -> None:
    """A download that broke off gives its frames up to there, and one warning."""
    path = write_clip(tmp_path / "clip.mp4", frames=20, options={"g": "5"}, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    source = VideoSource(path)
    frames = list(source.frames())
    assert 4 <= len(frames) < 20
    assert [shown_index(frame.picture.rgb()) for frame in frames[:4]] == [0, 1, 2, 3]
    assert any("it is cut off" in line for line in source.warnings)
    assert all(line.startswith("clip.mp4: ") for line in source.warnings)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.flv", "clip.ts"])
def test_a_sound_that_outlasts_the_picture_is_no_damage(tmp_path: Path, name: str) -> None:
    """A file is as long as its longest stream; a picture that ends before the sound is not cut off."""
    path = write_clip(tmp_path / name, frames=5, sound=tone(8.0, 44_100), sound_rate=44_100)
    source = VideoSource(path)
    assert len(list(source.frames())) == 5
    assert source.warnings == []


def test_a_last_picture_that_is_shown_for_long_is_no_damage(tmp_path: Path) -> None:
    """An animation that rests on its last picture is not cut off, and the output rests as long."""
    path = write_clip(tmp_path / "clip.gif", frames=4, codec="gif", pix_fmt="rgb8", time_base=Fraction(1, 100))
    content = bytearray(path.read_bytes())
    delay = content.rindex(b"\x21\xf9\x04") + 4  # of the last picture, in hundredths of a second
    content[delay : delay + 2] = (6_000).to_bytes(2, "little")
    path.write_bytes(content)
    source = VideoSource(path)
    copy_video(source, tmp_path / "out.mp4")
    assert source.warnings == []
    assert source.duration == pytest.approx(60.12)
    assert VideoSource(tmp_path / "out.mp4").duration == pytest.approx(60.12, abs=0.01)


def test_damaged_bytes_are_survived(tmp_path: Path) -> None:
    """A clip with destroyed bytes in the middle gives the other frames, and a warning."""
    path = write_clip(tmp_path / "clip.ts", frames=20, options={"g": "5"}, size=(128, 96))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(1).bytes(600)
    path.write_bytes(data)
    source = VideoSource(path)
    frames = list(source.frames())
    assert len(frames) >= 14
    assert [frame.pts for frame in frames] == sorted({frame.pts for frame in frames})
    assert source.warnings


def test_a_change_of_size_on_the_way_is_evened_out(tmp_path: Path) -> None:
    """Frames of another size are brought to the first one's, with a warning."""
    small, large = (write_clip(tmp_path / f"{name}.ts", size=size) for name, size in (("a", (64, 48)), ("b", (96, 80))))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    source = VideoSource(joined)
    frames = list(source.frames())
    assert len(frames) == 20
    assert {(frame.picture.width, frame.picture.height) for frame in frames} == {(64, 48)}
    assert [frame.pts for frame in frames] == sorted({frame.pts for frame in frames})
    assert any("size or pixel format changes" in line for line in source.warnings)


def test_interlaced_and_transparent_sources_are_warned_about(tmp_path: Path) -> None:
    """What the output cannot keep is said."""
    clear = np.zeros((48, 64, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "clear.png"), clear)
    assert VideoSource(tmp_path / "clear.png").warnings == ["clear.png: its transparency is not kept"]
    for name in ("clear.webm", "clear.mkv"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libvpx-vp9", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuva420p")))
            container.mux(stream.encode(None))
        assert VideoSource(tmp_path / name).warnings == [f"{name}: its transparency is not kept"]
    path = write_clip(tmp_path / "clip.mkv", options={"x264-params": "tff=1"})
    assert any("interlaced" in line for line in VideoSource(path).warnings)


def test_the_decoder_does_not_show_changes_made_to_a_picture(tmp_path: Path) -> None:
    """Changing a picture while decoding goes on does not show up in later frames."""
    path = write_clip(tmp_path / "clip.mp4", frames=12, options={"preset": "medium", "bf": "2"})
    seen = []
    for frame in VideoSource(path).frames():
        rgb = frame.picture.rgb()
        seen.append(shown_index(rgb))
        frame.picture.apply((0, 0, 64, 48), rgb, np.zeros_like(rgb))
    assert seen == list(range(12))


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    """A song with a cover picture is not taken for a video."""
    with av.open(str(tmp_path / "song.mp3"), "w") as container:
        sound = container.add_stream("libmp3lame", rate=44_100)
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4410), np.float32), "fltp", "stereo")
        frame.sample_rate = 44_100
        container.mux(cover.encode(av.VideoFrame.from_ndarray(pattern(0), "rgb24")))
        container.mux(cover.encode(None))
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(MediaError, match="expected a file with video"):
        VideoSource(tmp_path / "song.mp3")
