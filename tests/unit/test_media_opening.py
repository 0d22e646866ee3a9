"""Bad and dangerous input files: one clear line each, and no way to another file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from client.errors import MediaError
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


def test_opening_fails_for_a_pipe(tmp_path: Path) -> None:
    """A named pipe is refused, not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MediaError, match="got a device or pipe"):
        VideoSource(tmp_path / "pipe")


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
