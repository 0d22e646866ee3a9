"""Everything beside picture and speech comes back, or is named: tags, chapters, subtitles, further sounds."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from client.errors import MediaError
from client.media import AudioSource, VideoSource, VideoWriter
from client.media.carried import hdr
from tests.media_clips import (
    NEARLY_LOSSLESS,
    copy_video,
    is_open,
    leftovers,
    pattern,
    read_frames,
    tone,
    write_clip,
    write_sound,
)

TAGS = {"title": "A talk", "artist": "Someone", "comment": "Take 2", "creation_time": "2020-01-02T03:04:05.000000Z"}
LINES = [(0.2, 0.5, "Hello"), (0.6, 0.9, "Bye")]  # start and end in seconds, text


def add_subtitles(container: av.container.OutputContainer) -> list[av.Packet]:
    """Add a track of French subtitles; return its packets."""
    in_mp4 = container.format.name in ("mp4", "mov")
    stream = container.add_mux_stream("mov_text" if in_mp4 else "subrip")
    stream.metadata["language"] = "fra"
    stream.time_base = Fraction(1, 1000)
    packets = []
    for start, end, text in LINES:
        data = len(text).to_bytes(2, "big") + text.encode() if in_mp4 else text.encode()
        packet = av.Packet(data)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round((end - start) * 1000)
        packets.append(packet)
    return packets


def rich_clip(path: Path, tags: dict[str, str] | None = None, second_title: str = "") -> Path:
    """Write a clip of a second with tags, two chapters, subtitles and two sounds."""
    with av.open(str(path), "w", container_options={"movflags": "use_metadata_tags"} if tags else {}) as container:
        container.metadata.update(TAGS if tags is None else tags)
        video = container.add_stream("libx264", rate=25, options=NEARLY_LOSSLESS["libx264"])
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("aac", rate=48_000, layout="mono") for _ in range(2)]
        for sound, language in zip(sounds, ("eng", "deu"), strict=True):
            sound.metadata["language"] = "ger" if path.suffix == ".mov" and language == "deu" else language
        if second_title:
            sounds[1].metadata["title"] = second_title
        sounds[0].disposition = video.disposition = Disposition.default
        lines = add_subtitles(container)
        container.set_chapters(
            [{"id": i, "start": 500 * i, "end": 500 * (i + 1), "time_base": Fraction(1, 1000),
              "metadata": {"title": f"Part {i}"}} for i in range(2)]
        )  # fmt: skip
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(pattern(index), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number, sound in enumerate(sounds):
            frame = av.AudioFrame.from_ndarray(tone(1.0, 48_000, 300 * (number + 1))[None], "flt", "mono")
            frame.sample_rate, frame.pts = 48_000, 0
            container.mux([*sound.encode(frame), *sound.encode(None)])
        container.mux(lines)
    return path


def lines_of(path: Path) -> list[tuple[float, float, str]]:
    """Read a file's subtitles."""
    lines = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        for packet in container.demux(stream):
            for subtitle in packet.decode() if packet.size else []:
                text = subtitle.dialogue.decode()
                start = float(packet.pts * packet.time_base)
                if text:
                    lines.append((start, start + float(packet.duration * packet.time_base), text))
    return lines


@pytest.mark.parametrize("source", ["clip.mkv", "clip.mp4", "clip.mov"])
@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_everything_beside_picture_and_speech_comes_back(tmp_path: Path, source: str, name: str) -> None:
    """Title, artist, time, chapters, subtitles and the further sound are in the output, whatever the containers."""
    video = VideoSource(rich_clip(tmp_path / source))
    audio = AudioSource(write_sound(tmp_path / "speech.wav", tone(1.0)), delay_s=video.speech_delay_s)
    warnings = copy_video(video, tmp_path / name, audio)
    assert warnings == [f"{source}: left out of the output: the language of its sound (eng)"]
    with av.open(str(tmp_path / name)) as written:
        tags = {key.lower(): text for key, text in written.metadata.items()}
        assert {key: tags.get(key) for key in TAGS} == TAGS
        assert [chapter["metadata"]["title"] for chapter in written.chapters()] == ["Part 0", "Part 1"]
        sounds = written.streams.audio
        assert [sound.language in (None, "und") for sound in sounds] == [True, False]
        assert sounds[1].language == ("ger" if name.endswith("mov") or source.endswith("mov") else "deu")
        assert [bool(sound.disposition & Disposition.default) for sound in sounds] == [True, False]
        assert written.streams.subtitles[0].language == "fra"
    delay_s = video.picture_delay * float(video.time_base)  # mkv starts the picture with its first key frame
    assert [text for _, _, text in lines_of(tmp_path / name)] == [text for _, _, text in LINES]
    np.testing.assert_allclose([line[:2] for line in lines_of(tmp_path / name)], [line[:2] for line in LINES],
                               atol=0.002 + delay_s)  # fmt: skip


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_titles_of_further_streams_come_back(tmp_path: Path, name: str) -> None:
    """Where a container has a place for handlers' names, too: many programs read no other title of a stream there."""
    rich_clip(tmp_path / "clip.mkv", second_title="Commentary")
    speech = AudioSource(write_sound(tmp_path / "speech.wav", tone(0.4)))
    copy_video(VideoSource(tmp_path / "clip.mkv"), tmp_path / name, speech)
    copy_video(VideoSource(tmp_path / name), tmp_path / "again.mkv", speech)
    with av.open(str(tmp_path / name)) as written, av.open(str(tmp_path / "again.mkv")) as again:
        assert again.streams.audio[1].metadata["title"] == "Commentary"
        tags = written.streams.audio[1].metadata
    assert tags["title" if name.endswith("mkv") else "handler_name"] == "Commentary"
    copy_video(VideoSource(tmp_path / name), tmp_path / "none.mkv", speech, metadata=False)
    assert b"Commentary" not in (tmp_path / "none.mkv").read_bytes()


def test_further_streams_start_with_a_span(tmp_path: Path) -> None:
    """In a span, subtitles, sounds and chapters keep their distance to the picture, and end with it."""
    video = VideoSource(rich_clip(tmp_path / "clip.mp4"), 0.4, 0.8)
    copy_video(video, tmp_path / "out.mp4")
    lines = lines_of(tmp_path / "out.mp4")
    assert [text for _, _, text in lines] == ["Hello", "Bye"]
    np.testing.assert_allclose([line[0] for line in lines], [0, 0.2], atol=0.002)
    assert AudioSource(tmp_path / "out.mp4").duration == pytest.approx(0.4, abs=0.05)
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert written.chapters()[0]["end"] * written.chapters()[0]["time_base"] == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
def test_chapters_end_with_the_output(tmp_path: Path, name: str) -> None:
    """Chapters of a span are cut at its end, and later ones left out: players take their end for the file's."""
    warnings = copy_video(VideoSource(rich_clip(tmp_path / "clip.mkv"), 0.0, 0.4), tmp_path / name)
    assert "chapters" not in "".join(warnings)
    with av.open(str(tmp_path / name)) as written:
        chapters = [(float(found["start"] * found["time_base"]), float(found["end"] * found["time_base"]))
                    for found in written.chapters()]  # fmt: skip
    assert chapters == [(0, pytest.approx(0.4, abs=0.05))]


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("out.webm", ["a further sound (deu, aac)"]),
        ("out.ts", ["artist", "comment", "creation_time", "title", "2 chapters", "subtitles (fra, mov_text)"]),
        ("out.avi", ["creation_time", "2 chapters", "a further sound (deu, aac)", "subtitles (fra, mov_text)"]),
    ],
)
def test_what_a_container_cannot_hold_is_named(tmp_path: Path, name: str, left_out: Sequence[str]) -> None:
    """One warning names everything that is not in the output."""
    warnings = copy_video(VideoSource(rich_clip(tmp_path / "clip.mp4")), tmp_path / name)
    assert warnings == [f"clip.mp4: left out of the output: {', '.join(left_out)}"]


def test_metadata_can_be_left_out(tmp_path: Path) -> None:
    """Without metadata nothing tells who made the file, where and when; subtitles and sounds stay."""
    tags = {**TAGS, "location": "+48.1000+011.5000/", "com.apple.quicktime.model": "Phone"}
    video = VideoSource(rich_clip(tmp_path / "clip.mov", tags))
    assert copy_video(video, tmp_path / "all.mov") == []
    with av.open(str(tmp_path / "all.mov")) as written:
        assert {key: written.metadata.get(key) for key in ("title", "location", "com.apple.quicktime.model")} == {
            "title": "A talk", "location": "+48.1000+011.5000/", "com.apple.quicktime.model": "Phone"
        }  # fmt: skip
    assert copy_video(video, tmp_path / "none.mov", metadata=False) == []
    with av.open(str(tmp_path / "none.mov")) as written:
        assert set(written.metadata) <= {"major_brand", "minor_version", "compatible_brands", "encoder"}
        assert written.chapters() == []
        assert [stream.type for stream in written.streams] == ["video", "audio", "subtitle"]
    content = (tmp_path / "none.mov").read_bytes()
    assert not any(text.encode() in content for text in ("A talk", "Someone", "Phone", "+48.1", "Part 0"))


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_a_timecode_comes_back(tmp_path: Path, name: str) -> None:
    """The timecode of the first frame is kept; in a span it would be wrong, and is named."""
    with av.open(str(tmp_path / "clip.mov"), "w") as container:
        container.metadata["timecode"] = "01:02:03:04"
        stream = container.add_stream("libx264", rate=25, options=NEARLY_LOSSLESS["libx264"])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(pattern(index), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert copy_video(VideoSource(tmp_path / "clip.mov"), tmp_path / name) == []
    with av.open(str(tmp_path / name)) as written:
        found = {key.lower(): text for tags in (written.metadata, written.streams.video[0].metadata)
                 for key, text in tags.items()}  # fmt: skip
    assert found["timecode"] == "01:02:03:04"
    warnings = copy_video(VideoSource(tmp_path / "clip.mov", 0.2), tmp_path / name)
    assert warnings == ["clip.mov: left out of the output: timecode"]


def test_refused_light_levels_cost_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an encoder refuses is left out by itself: title, chapters and further streams come back all the same."""
    monkeypatch.setattr(hdr, "MOST_LIGHT", 2**32)
    monkeypatch.setattr(hdr, "frame_data", lambda _: {"CONTENT_LIGHT_LEVEL": hdr.LIGHT_LAYOUT.pack(2**32 - 1, 400)})
    source = VideoSource(rich_clip(tmp_path / "clip.mp4"))
    (warning,) = copy_video(source, tmp_path / "out.mp4", codec="h264")
    assert warning == "clip.mp4: left out of the output: its HDR10 mastering display and light levels"
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert written.metadata["title"] == TAGS["title"]
        assert {"video", "audio", "subtitle"} <= {stream.type for stream in written.streams}


def test_a_damaged_further_sound_is_left_out(tmp_path: Path) -> None:
    """A further sound that the muxer refuses at the end of the job does not take the picture with it."""
    clip = rich_clip(tmp_path / "clip.mp4")
    data = bytearray(clip.read_bytes())
    config = data.rindex(b"esds")
    header = data.index(b"\x05\x80\x80\x80", config) + 5  # the second sound's AudioSpecificConfig
    data[header] = 0x89  # an object type that ADTS cannot state
    clip.write_bytes(data)
    (warning,) = copy_video(VideoSource(clip), tmp_path / "out.ts")
    assert "a further sound (deu, aac)" in warning
    assert len(read_frames(tmp_path / "out.ts")) == 25


def test_a_damaged_packet_of_a_further_sound_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet that reaches beyond the end of the file is not copied; transport streams could not hold it."""
    monkeypatch.setattr("client.media.carried.further.TRIAL_PACKETS", 20)  # in this short clip they are all
    clip = rich_clip(tmp_path / "clip.mp4")
    data = bytearray(clip.read_bytes())
    sizes = [at for at in range(len(data)) if data[at : at + 4] == b"stsz"][2]  # the second sound's
    last = sizes + 12 + 4 * int.from_bytes(data[sizes + 12 : sizes + 16], "big")
    data[last : last + 4] = (1 << 24).to_bytes(4, "big")
    clip.write_bytes(bytes(data) + (40_000).to_bytes(4, "big") + b"free" + bytes(39_992))
    copy_video(VideoSource(clip), tmp_path / "out.ts")
    assert len(read_frames(tmp_path / "out.ts")) == 25


def test_a_manifest_of_origin_is_named(tmp_path: Path) -> None:
    """A C2PA manifest holds for the old file only."""
    clip = write_clip(tmp_path / "clip.mp4")
    box = b"uuid" + bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + b"\0\0\0\0manifest\0jumbc2pa"
    clip.write_bytes(clip.read_bytes() + (len(box) + 4).to_bytes(4, "big") + box)
    assert copy_video(VideoSource(clip), tmp_path / "out.mp4") == ["clip.mp4: left out of the output: a C2PA manifest"]


@pytest.mark.parametrize(
    ("source", "name"), [("clip.mp4", "out.mp4"), ("clip.mp4", "out.mkv"), ("clip.mkv", "out.mp4")]
)
def test_the_cover_comes_back(tmp_path: Path, source: str, name: str) -> None:
    """A cover picture is kept byte for byte, as a stream or as an attachment."""
    cover = write_clip(tmp_path / "cover.jpg", frames=1, codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    with av.open(str(tmp_path / source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=NEARLY_LOSSLESS["libx264"])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if source.endswith("mkv"):
            container.add_attachment("cover.jpg", "image/jpeg", cover)
        else:
            attached = container.add_mux_stream("mjpeg", width=64, height=48)
            attached.disposition = Disposition.attached_pic
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(pattern(index), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        if source.endswith("mp4"):
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = attached, 0, 0, True
            container.mux(packet)
        container.mux(stream.encode(None))
    assert copy_video(VideoSource(tmp_path / source), tmp_path / name) == []
    with av.open(str(tmp_path / name)) as written:
        covers = [stream for stream in written.streams.video if stream.disposition & Disposition.attached_pic]
        assert [bytes(packet) for packet in written.demux(covers) if packet.size] == [cover]
    assert VideoSource(tmp_path / name).frame_estimate == 10


def thumbnails_clip(path: Path, cover: bytes) -> bytearray:
    """Write a clip whose chapters have a picture each, as QuickTime does: a track that the video names."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=NEARLY_LOSSLESS["libx264"])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pictures = container.add_mux_stream("mjpeg", width=64, height=48)
        chapter = {"id": 0, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "Part"}}
        container.set_chapters([chapter])
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(pattern(index), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        packet = av.Packet(cover)
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = pictures, 0, 0, True
        container.mux([packet, *stream.encode(None)])
    titles, thumbnails = (b"chap" + number.to_bytes(4, "big") for number in (3, 2))  # in both tracks
    return bytearray(path.read_bytes().replace(titles, thumbnails))


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("damage", ["unknown codec", "no picture"])
def test_a_damaged_cover_is_left_out(tmp_path: Path, name: str, damage: str) -> None:
    """A cover in an unknown codec, or one that is announced but not there, does not keep the job from its end."""
    cover = write_clip(tmp_path / "cover.jpg", frames=1, codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    content = thumbnails_clip(tmp_path / "clip.mp4", cover)
    if damage == "unknown codec":
        for name_of_codec in (b"mp4v", b"esds"):
            at = content.index(name_of_codec)
            content[at : at + 4] = b"none"
    else:
        count = content.index(b"stsz", content.index(b"mp4v")) + 12
        content[count : count + 4] = bytes(4)
    (tmp_path / "clip.mp4").write_bytes(content)
    (warning,) = copy_video(VideoSource(tmp_path / "clip.mp4"), tmp_path / name)
    assert warning == "clip.mp4: left out of the output: the cover picture"
    assert len(read_frames(tmp_path / name)) == 10


def test_the_source_is_closed_when_it_turns_out_to_have_no_video(tmp_path: Path) -> None:
    """A file that was replaced after it was opened leaves no open file behind."""
    clip = write_clip(tmp_path / "clip.mp4")
    source = VideoSource(clip)
    write_sound(tmp_path / "sound.wav", tone(0.1)).replace(clip)
    with pytest.raises(MediaError, match="expected a file with video") as caught:
        VideoWriter(tmp_path / "out.mp4", source, metadata=False)
    assert caught.tb  # holds whatever the writer held
    assert not is_open(clip)


def test_a_source_whose_sound_has_no_decoder_is_used(tmp_path: Path) -> None:
    """Only the picture of a source is needed: its sound is replaced, in whatever codec it is."""
    clip = write_clip(tmp_path / "clip.mkv", sound=tone(0.4, 48_000))
    content = clip.read_bytes()
    assert content.count(b"A_AAC") == 1
    clip.write_bytes(content.replace(b"A_AAC", b"A_NEW"))
    speech = AudioSource(write_sound(tmp_path / "speech.wav", tone(0.4)))
    assert copy_video(VideoSource(clip), tmp_path / "out.mp4", speech) == []
    assert AudioSource(tmp_path / "out.mp4").duration == pytest.approx(0.4, abs=0.05)


def test_nothing_is_left_when_the_source_vanishes(tmp_path: Path) -> None:
    """An error before the first picture leaves no hidden file."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4"))
    source.path.unlink()
    with pytest.raises(MediaError, match="nothing under that name"):
        VideoWriter(tmp_path / "out.mp4", source)
    assert leftovers(tmp_path) == []
