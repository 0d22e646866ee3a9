"""Bad and dangerous input files: one clear line each, and no way to another file."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

from client.errors import MediaError, ShortageError
from client.media import AudioSource, VideoSource
from client.media.opening import open_media
from tests.media_clips import is_open, tone, write_clip, write_sound


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A clip that tricks try to reach."""
    return write_clip(tmp_path / "secret.ts")


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list"])
def test_opening_fails_for_a_playlist_that_names_a_local_file(tmp_path: Path, secret: Path, name: str) -> None:
    """A playlist cannot bring in another file, under any name."""
    playlist = tmp_path / name
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match=r"list.*expected a video, picture or audio file"):
        VideoSource(playlist)


@pytest.mark.parametrize("name", ["script.ffconcat", "script.mp4"])
def test_opening_fails_for_a_concat_script(tmp_path: Path, secret: Path, name: str) -> None:
    """A concat script cannot bring in another file, under any name."""
    script = tmp_path / name
    script.write_text(f"ffconcat version 1.0\nfile {secret}\n")
    with pytest.raises(MediaError, match="expected a video, picture or audio file"):
        VideoSource(script)


def test_opening_fails_for_a_dash_manifest(tmp_path: Path, secret: Path) -> None:
    """A DASH manifest cannot bring in another file."""
    manifest = tmp_path / "manifest.mpd"
    manifest.write_text(
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f'<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{secret}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    )
    with pytest.raises(MediaError, match="expected a video, picture or audio file"):
        VideoSource(manifest)


def test_opening_fails_for_a_session_description(tmp_path: Path) -> None:
    """A session description cannot open a network port."""
    description = tmp_path / "stream.sdp"
    description.write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 32\n")
    with pytest.raises(MediaError, match="expected a video, picture or audio file"):
        VideoSource(description)


def test_a_name_with_a_pattern_opens_only_that_file(tmp_path: Path) -> None:
    """A file name such as frame%03d.png is that one file, not a numbered series."""
    for number in range(3):
        write_clip(tmp_path / f"frame{number:03d}.png", frames=1, codec="png", pix_fmt="rgb24")
    only = (tmp_path / "frame000.png").rename(tmp_path / "frame%03d.png")
    assert len(list(VideoSource(only).frames())) == 1


def test_mov_with_an_external_reference_reads_nothing_else(tmp_path: Path) -> None:
    """A mov whose samples lie in another file, named in its data reference, gives none of that file's content."""
    clip = write_clip(tmp_path / "clip.mov", container_options={"movflags": "faststart"})
    data = clip.read_bytes()
    itself = b"url \x00\x00\x00\x01"  # a reference flagged as "in this file", within its dref box
    place = data.index(itself, data.index(b"dref"))
    outside = data[:place] + b"url \x00\x00\x00\x00" + data[place + len(itself) :]
    moved = tmp_path / "moved.mov"
    moved.write_bytes(outside)
    opened: list[str] = []
    with open_media(moved) as container:
        opened.extend(str(stream.type) for stream in container.streams)
    assert opened  # it opens by itself; nothing else was asked for, or opening would have failed


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    """A clip under a wrong or missing extension is read all the same."""
    clip = write_clip(tmp_path / "clip.mp4")
    for name in ("clip.png", "clip.m3u8", "clip.txt", "clip"):
        assert VideoSource(clip.rename(tmp_path / name)).width == 64
        clip = tmp_path / name


def test_opening_fails_for_a_missing_file(tmp_path: Path) -> None:
    """A name without a file is said to be one."""
    with pytest.raises(MediaError, match=r"nowhere\.mp4: expected a media file, got nothing under that name"):
        VideoSource(tmp_path / "nowhere.mp4")


def test_opening_fails_for_a_name_that_no_disk_can_hold() -> None:
    """Where the system refuses even to look, its own words are told."""
    with pytest.raises(MediaError, match="expected a readable file, got File name too long"):
        VideoSource("x" * 300)


def test_opening_fails_for_a_folder(tmp_path: Path) -> None:
    """A folder is said to be one."""
    with pytest.raises(MediaError, match="got a folder"):
        AudioSource(tmp_path)


def test_opening_fails_for_an_empty_file(tmp_path: Path) -> None:
    """An empty file is said to be one."""
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(MediaError, match="got an empty file"):
        VideoSource(empty)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_opening_fails_for_an_unreadable_file(tmp_path: Path) -> None:
    """A file without read permission is said to be one."""
    clip = write_clip(tmp_path / "clip.mp4")
    clip.chmod(0)
    with pytest.raises(MediaError, match="Check its permissions"):
        VideoSource(clip)


@pytest.mark.parametrize("content", [b"Once upon a time.\n" * 100, bytes(5000)], ids=["text", "zeros"])
def test_opening_fails_for_something_renamed_to_mp4(tmp_path: Path, content: bytes) -> None:
    """Text and zeros called .mp4 are refused."""
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(content)
    with pytest.raises(MediaError, match=r"fake\.mp4: expected a video, picture or audio file"):
        VideoSource(fake)


def test_opening_fails_for_noise(tmp_path: Path) -> None:
    """Noise called .mp4 is refused, whatever it is taken for."""
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(np.random.default_rng(0).bytes(20_000))
    with pytest.raises(MediaError, match=r"fake\.mp4: expected"):
        VideoSource(fake)


def test_video_fails_for_a_sound_file(tmp_path: Path) -> None:
    """A sound file is no video, and the message says what it has."""
    sound = write_sound(tmp_path / "sound.wav", tone(0.2))
    with pytest.raises(MediaError, match=r"sound\.wav: expected a file with video, got one with audio"):
        VideoSource(sound)


def test_refused_file_is_closed(tmp_path: Path) -> None:
    """Nothing keeps a file open that turned out to be of no use."""
    path = write_sound(tmp_path / "sound.wav", tone(0.5))
    with pytest.raises(MediaError) as refusal:
        VideoSource(path)
    assert not is_open(path), refusal


def test_audio_fails_for_a_silent_film(tmp_path: Path) -> None:
    """A video without sound is no speech, and the message says what it has."""
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match=r"clip\.mp4: expected a file with audio, got one with video"):
        AudioSource(clip)


def test_audio_fails_at_zero_length(tmp_path: Path) -> None:
    """A sound file without a sample is refused."""
    sound = write_sound(tmp_path / "sound.wav", np.zeros(0, np.float32))
    with pytest.raises(MediaError, match="got audio of zero length"):
        AudioSource(sound)


def test_video_fails_where_nothing_can_be_decoded(tmp_path: Path) -> None:
    """A clip whose every picture is destroyed is refused as damaged."""
    clip = write_clip(tmp_path / "clip.mp4", container_options={"movflags": "faststart"})
    data = bytearray(clip.read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin:] = bytes(len(data) - begin)
    clip.write_bytes(data)
    with pytest.raises(MediaError, match="expected at least one frame that can be decoded"):
        VideoSource(clip)


def png(width: int, height: int) -> bytes:
    """Return a black PNG of one bit per pixel, a few kilobytes however large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(16_000, 16_000), (8_193, 8_192)])
def test_video_fails_for_a_huge_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    """More than 64 megapixels are refused by their size, before they are decoded; so are they the second time."""
    (tmp_path / "photo.png").write_bytes(png(*size))
    got = f"got {size[0]}x{size[1]}. Scale it down first"
    for _ in range(2):
        with pytest.raises(MediaError, match=rf"photo\.png: expected pictures of at most 64 megapixels.* {got}"):
            VideoSource(tmp_path / "photo.png")
    assert not is_open(tmp_path / "photo.png")


@pytest.mark.parametrize("size", [(20_000, 20_000), (60_000, -60_000)])
def test_video_fails_for_a_picture_that_no_memory_could_hold(tmp_path: Path, size: tuple[int, int]) -> None:
    """Sizes that FFmpeg calls invalid are told as too large, not as damage."""
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "photo.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 1_054, 0, 0, 54) + header + bytes(1_000))
    with pytest.raises(
        MediaError, match=rf"at most 64 megapixels.* got {size[0]}x{abs(size[1])}\. Scale it down first"
    ):
        VideoSource(tmp_path / "photo.bmp")


def test_video_fails_for_huge_frames(tmp_path: Path) -> None:
    """A video whose header states such a size is refused, too."""
    (tmp_path / "video.y4m").write_bytes(b"YUV4MPEG2 W9000 H8000 F25:1 C420jpeg\nFRAME\n" + bytes(9_000))
    with pytest.raises(MediaError, match="expected pictures of at most 64 megapixels.* got 9000x8000"):
        VideoSource(tmp_path / "video.y4m")


def test_the_largest_pictures_are_opened(tmp_path: Path) -> None:
    """A picture of exactly 64 megapixels is read."""
    (tmp_path / "photo.png").write_bytes(png(8_192, 8_192))
    source = VideoSource(tmp_path / "photo.png")
    assert (source.width, source.height) == (8_192, 8_192)


def test_video_fails_for_an_animated_webp(tmp_path: Path) -> None:
    """FFmpeg's decoder skips animations; the file is not called damaged."""
    extended = b"VP8X" + struct.pack("<IB3x", 10, 0x02) + bytes([63, 0, 0, 47, 0, 0])
    body = b"WEBP" + extended + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    (tmp_path / "moving.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    with pytest.raises(MediaError, match="got an animated WebP. Convert it to mp4 first"):
        VideoSource(tmp_path / "moving.webp")


def test_video_fails_for_a_sound_with_a_cover(tmp_path: Path) -> None:
    """A song's cover is no video, and is not called one."""
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=44_100)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(64, 48, "yuvj420p")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4_410), np.float32), "fltp", "mono")
        frame.sample_rate = 44_100
        container.mux([*sound.encode(frame), *sound.encode(None)])
    with pytest.raises(MediaError, match="expected a file with video, got one with a cover picture, audio"):
        VideoSource(path)


def test_opening_fails_for_pipes(tmp_path: Path) -> None:
    """Pipes, which are not waited for, and standard input are refused with what to do instead."""
    os.mkfifo(tmp_path / "pipe")
    for path, got in [(tmp_path / "pipe", "a pipe"), (Path("-"), "nothing under that name")]:
        with pytest.raises(MediaError, match=rf"got {got}\. Save what comes through the pipe to a file first"):
            VideoSource(path)


def test_a_size_that_no_memory_suffices_for_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg calls both a lack of memory, which it is only where memory is short."""
    clip = write_clip(tmp_path / "clip.mp4")
    content = bytearray(clip.read_bytes())
    count = content.index(b"stts") + 8  # of the entries of this table, behind its version and flags
    content[count : count + 4] = (0x0FFF_FFFF).to_bytes(4, "big")
    clip.write_bytes(content)
    with pytest.raises(MediaError, match="got something else or a damaged file"):
        VideoSource(clip)
    monkeypatch.setattr("client.shortage.has_room", lambda _: False)
    with pytest.raises(ShortageError, match="memory ran out"):
        VideoSource(clip)
