"""Without metadata, nothing in an output tells who made its source, where, when and with what."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer

from client.media import AudioSource, VideoSource
from client.media.carried.headers import without_text
from tests.media_clips import (
    audio_codec,
    copy_video,
    further_packet,
    read_sound,
    tone,
    write_beside,
    write_clip,
)

SECRET = b"Confidential"  # in every text of the sources, and in every attached file
MILLISECOND = Fraction(1, 1000)
SCRIPT = b"""[Script Info]\r
; Confidential comment\r
Title: Confidential title\r
ScriptType: v4.00+\r
PlayResX: 640\r
\r
[Aegisub Project Garbage]\r
Video File: /home/Confidential/video.mkv\r
\r
[V4+ Styles]\r
Format: Name, Fontname, Fontsize\r
Style: Default,Arial,20\r
\r
[Events]\r
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r
"""
SHOWN = b"""[Script Info]\r
ScriptType: v4.00+\r
PlayResX: 640\r
[V4+ Styles]\r
Format: Name, Fontname, Fontsize\r
Style: Default,Arial,20\r
[Events]\r
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r
"""
STYLED = b"WEBVTT - a title\n\nNOTE by me\n\nSTYLE\n::cue {}\n"
BOM = b"\xef\xbb\xbf"


def text(name: str) -> str:
    return f"{SECRET.decode()} {name}"


def cover() -> bytes:
    """Return a JPEG with a comment."""
    frame = av.VideoFrame(64, 48, "yuvj420p")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuvj420p", Fraction(1)
    picture = bytes(encoder.encode(frame)[0])
    comment = text("cover").encode()
    return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]


def add_tags(container: OutputContainer) -> None:
    video = container.streams.video[0]
    video.metadata.update({"title": text("picture"), "handler_name": text("handler")})
    container.metadata.update({key: text(key) for key in ("title", "artist", "make", "copyright", "free_key")})
    container.metadata.update(
        {"creation_time": "2020-01-02T03:04:05.000000Z", "location": "+48.1000+011.5000/", "timecode": "01:02:03:04"}
    )
    if container.format.name != "mpegts":
        chapter = {"id": 0, "start": 0, "end": 400, "time_base": MILLISECOND, "metadata": {"title": text("chapter")}}
        container.set_chapters([chapter])


def declare_mkv(container: OutputContainer) -> list[av.Packet]:
    add_tags(container)
    container.add_attachment(f"{text('font')}.ttf", "font/ttf", text("font").encode())
    container.add_attachment("cover.jpg", "image/jpeg", cover())
    subtitles = container.add_stream("ass")
    subtitles.codec_context.subtitle_header = SCRIPT
    subtitles.codec_context.time_base = subtitles.time_base = MILLISECOND
    subtitles.metadata["title"] = text("subtitles")
    return []


def declare_mov(container: OutputContainer) -> list[av.Packet]:
    add_tags(container)
    subtitles = container.add_mux_stream("mov_text")
    subtitles.time_base = MILLISECOND
    subtitles.metadata["handler_name"] = text("subtitles")
    return [further_packet(subtitles, b"\0\x05Hello", 0.1, 0.2)]


def declare_mp4(container: OutputContainer) -> list[av.Packet]:
    add_tags(container)
    attached = container.add_mux_stream("mjpeg", width=64, height=48, time_base=MILLISECOND)
    attached.disposition = av.stream.Disposition.attached_pic
    return [further_packet(attached, cover(), 0.0)]


def declare_ts(container: OutputContainer) -> list[av.Packet]:
    container.metadata.update({"service_name": text("service"), "service_provider": text("provider")})
    data = container.add_mux_stream("klv")
    data.time_base = Fraction(1, 90_000)
    return [further_packet(data, text("telemetry").encode(), 0.1)]


SOURCES = {"clip.mkv": declare_mkv, "clip.mov": declare_mov, "clip.mp4": declare_mp4, "clip.ts": declare_ts}


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_that_tells_about_the_source_is_written(tmp_path: Path, source: str) -> None:
    """No text of the source, no attached file, cover, data, chapter or timecode is in the output's bytes."""
    clip = write_beside(tmp_path / source, SOURCES[source])
    assert SECRET in clip.read_bytes()
    video = VideoSource(clip)
    for name in ("out.mkv", "out.mp4", "out.mov", "out.ts", "out.webm", "out.avi", "out.flv"):
        copy_video(video, tmp_path / name, metadata=False)
        content = (tmp_path / name).read_bytes()
        told = [fact for fact in (SECRET, b"2020-01-02", b"+48.1", b"01:02:03:04") if fact in content]
        assert told == [], name
        with av.open(str(tmp_path / name)) as written:
            assert {stream.type for stream in written.streams} <= {"video", "subtitle"}
            assert len(written.streams.video) == 1  # no cover
            assert written.chapters() == []
            assert not any("timecode" in stream.metadata for stream in written.streams)


def test_what_is_left_out_was_asked_for(tmp_path: Path) -> None:
    """No warning names it."""
    clip = write_beside(tmp_path / "clip.mkv", declare_mkv)
    assert copy_video(VideoSource(clip), tmp_path / "out.mp4", metadata=False) == []


def test_subtitles_keep_what_shows_them() -> None:
    """Of a script's head its settings and styles stay; its title, authors, files and comments go."""
    assert without_text("ass", SCRIPT) == SHOWN
    assert without_text("webvtt", STYLED) == b"WEBVTT\n\nSTYLE\n::cue {}"
    assert without_text("mov_text", b"\0\1styles") == b"\0\1styles"


@pytest.mark.parametrize(
    ("codec", "header", "shown"),
    [
        ("ass", BOM + SCRIPT, SHOWN),
        ("ass", SCRIPT.replace(b"PlayResX:", b"PlayResX :"), SHOWN.replace(b"PlayResX:", b"PlayResX :")),
        ("ass", SCRIPT + b"Comment : 0,Confidential\r\n", SHOWN),
        ("webvtt", BOM + STYLED, b"WEBVTT\n\nSTYLE\n::cue {}"),
        (
            "webvtt",
            b'WEBVTT\n\nSTYLE\n/* Confidential\n*/\n::cue(v[voice="/*"]) {} /* Confidential */',
            b'WEBVTT\n\nSTYLE\n::cue(v[voice="/*"]) {} ',
        ),
        (
            "dvd_subtitle",
            b"# Confidential\r\nsize: 720x576\r\n# Confidential\r\npalette: 000000, ffffff\r\nalt: Confidential\r\n",
            b"size: 720x576\r\npalette: 000000, ffffff\r\n",
        ),
    ],
)
def test_headers_of_subtitles_keep_settings_alone(codec: str, header: bytes, shown: bytes) -> None:
    """However they are written: with a byte order mark, with spaces before colons, with comments."""
    assert without_text(codec, header) == shown


def vorbis_speech(path: Path) -> Path:
    """Write Vorbis whose header holds a comment, as files of other programs do."""
    plain = path.with_name("plain.mkv")
    with av.open(str(plain), "w") as container:
        stream = container.add_stream("vorbis", rate=44_100, layout="stereo", options={"strict": "experimental"})
        frame = av.AudioFrame.from_ndarray(np.stack([tone(0.4, 44_100)] * 2), "fltp", "stereo")
        frame.sample_rate, frame.pts = 44_100, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        header = source.streams.audio[0].codec_context.extradata
        identification = header[3 : 3 + header[1]]
        setup = header[3 + header[1] + header[2] :]
        said = b"TITLE=" + SECRET + b"!" * 300
        comments = b"\x03vorbis" + bytes(4) + (1).to_bytes(4, "little") + len(said).to_bytes(4, "little") + said + b"\1"
        copy = container.add_stream_from_template(source.streams.audio[0])
        sizes = bytes([2, len(identification)]) + b"\xff" * (len(comments) // 255) + bytes([len(comments) % 255])
        copy.codec_context.extradata = sizes + identification + comments + setup
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = copy
                container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["out.mkv", "out.webm"])
def test_copied_vorbis_tells_nothing(tmp_path: Path, name: str) -> None:
    """Its header, which decoders need, holds title and artist too; the sound stays the same."""
    speech = AudioSource(vorbis_speech(tmp_path / "speech.mkv"))
    assert SECRET in speech.path.read_bytes()
    source = VideoSource(write_clip(tmp_path / "clip.mp4"))
    copy_video(source, tmp_path / name, speech, metadata=False)
    assert audio_codec(tmp_path / name) == "vorbis"
    assert SECRET not in (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(read_sound(tmp_path / name)[0], read_sound(speech.path)[0])
