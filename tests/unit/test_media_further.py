"""Data, attached files and second videos of a source: in the output, or named as left out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import OutputContainer

from client.media import VideoSource
from tests.media_clips import copy_video, further_packet, pattern, write_beside

Subtitle = tuple[str, float, float]  # text, start and duration in seconds

MILLISECOND = Fraction(1, 1000)
TICK = Fraction(1, 90_000)  # second; of transport streams
TELEMETRY = [(0.0, b"here"), (0.2, b"there")]  # seconds, data
FONT = b"\0\1\0\0 a font " + bytes(range(64))
DATA_PID = 0x101  # of the stream behind the video in transport streams of FFmpeg
PACKET = 188  # bytes, in transport streams


def telemetry_clip(path: Path, codec: str) -> Path:
    """Write a clip with a stream of data."""

    def declare(container: OutputContainer) -> list[av.Packet]:
        stream = container.add_mux_stream(codec)
        stream.time_base = TICK
        return [further_packet(stream, data, time_s) for time_s, data in TELEMETRY]

    return write_beside(path, declare)


def remove_times(path: Path) -> Path:
    """Remove the timestamps of the data in a transport stream, as in asynchronous KLV."""
    content = bytearray(path.read_bytes())
    for packet in range(0, len(content), PACKET):
        starts, pid = content[packet + 1] & 0x40, (content[packet + 1] & 0x1F) << 8 | content[packet + 2]
        if starts and pid == DATA_PID:
            header = content.index(b"\0\0\1", packet)  # of the PES packet
            content[header + 7] &= 0x3F  # no timestamps
            content[header + 9 : header + 14] = b"\xff" * 5  # stuffing in their place
    path.write_bytes(content)
    return path


def data_of(path: Path) -> list[tuple[float, bytes]]:
    """Read a file's data, each with its time in seconds from the first frame."""
    with av.open(str(path)) as container:
        video, stream = container.streams.video[0], container.streams.data[0]
        first_s = float(video.start_time * video.time_base)
        return [(float(packet.pts * packet.time_base) - first_s, bytes(packet))
                for packet in container.demux(stream) if packet.size]  # fmt: skip


@pytest.mark.parametrize("codec", ["klv", "timed_id3"])
def test_data_comes_back_at_its_time(tmp_path: Path, codec: str) -> None:
    """Telemetry of a transport stream is in another one, at the same frames."""
    clip = telemetry_clip(tmp_path / "clip.ts", codec)
    assert copy_video(VideoSource(clip), tmp_path / "out.ts") == []
    with av.open(str(tmp_path / "out.ts")) as written:
        assert [stream.name for stream in written.streams.data] == [codec]
    assert data_of(tmp_path / "out.ts") == [(pytest.approx(time_s), data) for time_s, data in TELEMETRY]


def test_data_without_times_stays_with_its_frames(tmp_path: Path) -> None:
    """Asynchronous KLV has no timestamps: it belongs to the frames that it lies beside."""
    clip = remove_times(telemetry_clip(tmp_path / "clip.ts", "klv"))
    with av.open(str(clip)) as source:
        assert {packet.pts for packet in source.demux(source.streams.data[0]) if packet.size} == {None}
    assert copy_video(VideoSource(clip), tmp_path / "out.ts") == []
    reordering_s = 0.081  # frames lie before they are shown, by two at most
    near = [(pytest.approx(time_s, abs=reordering_s), data) for time_s, data in TELEMETRY]
    assert data_of(tmp_path / "out.ts") == near


def test_data_without_times_starts_with_a_span(tmp_path: Path) -> None:
    """What lies before the span is left out, as it is with times."""
    clip = remove_times(telemetry_clip(tmp_path / "clip.ts", "klv"))
    copy_video(VideoSource(clip, 0.12), tmp_path / "out.ts")
    assert [data for _, data in data_of(tmp_path / "out.ts")] == [b"there"]


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov", "out.webm", "out.avi", "out.flv"])
def test_data_that_a_container_cannot_hold_is_named(tmp_path: Path, name: str) -> None:
    """Only transport streams hold KLV."""
    warnings = copy_video(VideoSource(telemetry_clip(tmp_path / "clip.ts", "klv")), tmp_path / name)
    assert warnings == ["clip.ts: left out of the output: data (klv)"]


def test_attached_fonts_come_back(tmp_path: Path) -> None:
    """Subtitles are shown in them: the same bytes under the same name, or named as left out."""

    def declare(container: OutputContainer) -> list[av.Packet]:
        container.add_attachment("Face.ttf", "font/ttf", FONT)
        return []

    clip = write_beside(tmp_path / "clip.mkv", declare)
    assert copy_video(VideoSource(clip), tmp_path / "out.mkv") == []
    with av.open(str(tmp_path / "out.mkv")) as written:
        (attached,) = written.streams.attachments
        assert (attached.name, attached.mimetype, attached.data) == ("Face.ttf", "font/ttf", FONT)
    for name in ("out.mp4", "out.webm"):
        warnings = copy_video(VideoSource(clip), tmp_path / name)
        assert warnings == ["clip.mkv: left out of the output: an attachment (Face.ttf)"]


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.ts"])
def test_a_second_video_is_named(tmp_path: Path, name: str) -> None:
    """Only the video that is lip-synced is in the output."""

    def declare(container: OutputContainer) -> list[av.Packet]:
        second = container.add_stream("mpeg4", rate=25)
        second.width, second.height, second.pix_fmt = 48, 32, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(pattern(index, 48, 32), "rgb24") for index in range(10)]
        return [packet for frame in [*frames, None] for packet in second.encode(frame)]

    clip = write_beside(tmp_path / "clip.mkv", declare)
    assert copy_video(VideoSource(clip), tmp_path / name) == [
        "clip.mkv: left out of the output: a further video (mpeg4)"
    ]
    with av.open(str(tmp_path / name)) as written:
        assert [(stream.type, stream.width) for stream in written.streams] == [("video", 64)]


def chapters_clip(path: Path, titles: list[str | None], lines: list[Subtitle] | None = None) -> Path:
    """Write a silent mp4 with a timecode, chapters of 0.1 s from 0.05 s on, and perhaps subtitles.

    Nothing in such a file says that the track of the chapters' names is one.
    """
    tags = [{} if title is None else {"title": title} for title in titles]
    chapters = [{"id": i, "start": 100 * i + 50, "end": 100 * i + 150, "time_base": MILLISECOND, "metadata": tags[i]}
                for i in range(len(titles))]  # fmt: skip

    def declare(container: OutputContainer) -> list[av.Packet]:
        container.metadata["timecode"] = "01:02:03:04"
        container.set_chapters(chapters)
        if lines is None:
            return []
        subtitles = container.add_mux_stream("mov_text")
        subtitles.time_base = MILLISECOND
        return [further_packet(subtitles, len(line).to_bytes(2, "big") + line.encode(), start_s, duration_s)
                for line, start_s, duration_s in lines]  # fmt: skip

    return write_beside(path, declare)


def remove_names_track(path: Path) -> None:
    """Remove the track of the chapters' names from an mp4, which states them a second time."""
    content = path.read_bytes()
    handler = content.index(b"text", content.index(b"moov"))
    track = content.rindex(b"trak", 0, handler)
    path.write_bytes(content[:track] + b"free" + content[track + 4 :])


def subtitles_of(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [bytes(packet).decode() for packet in container.demux(subtitles=0) if packet.size]


@pytest.mark.parametrize("titles", [["Part 0", "Part 1"], ["Ad", "Show", "Ad", "Show"], ["Part 0", None, "Part 2"]])
def test_names_of_chapters_are_no_subtitles(tmp_path: Path, titles: list[str | None]) -> None:
    """Whether or not metadata is wanted; repeated or missing titles make no difference."""
    clip = chapters_clip(tmp_path / "clip.mp4", titles)
    with av.open(str(clip)) as source:
        assert [stream.name for stream in source.streams.subtitles] == ["mov_text"]
    assert copy_video(VideoSource(clip), tmp_path / "out.mkv") == []
    assert copy_video(VideoSource(clip), tmp_path / "anonymous.mkv", metadata=False) == []
    for name in ("out.mkv", "anonymous.mkv"):
        with av.open(str(tmp_path / name)) as written:
            assert [stream.type for stream in written.streams] == ["video"]
    with av.open(str(tmp_path / "out.mkv")) as written:
        assert [chapter["metadata"].get("title") or None for chapter in written.chapters()] == titles


@pytest.mark.parametrize(
    ("titles", "line", "names_are_a_track"),
    [
        ([None], ("Hello", 0.1, 0.2), False),  # behind a gap, which is stored as an empty line
        (["Hello"], ("Hello", 0.2, 0.1), False),  # at another time than the chapter
        (["Hello"], ("Hello", 0.05, 0.1), True),  # at the same time, but beside a track of the chapters' names
    ],
)
def test_subtitles_beside_chapters_come_back(
    tmp_path: Path, titles: list[str | None], line: Subtitle, *, names_are_a_track: bool
) -> None:
    """They are no names of chapters: no chapter has one, or none at their time, or all have them elsewhere."""
    clip = chapters_clip(tmp_path / "clip.mp4", titles, [line])
    if titles != [None] and not names_are_a_track:
        remove_names_track(clip)
    with av.open(str(clip)) as source:
        assert any(stream.name == "bin_data" for stream in source.streams) == names_are_a_track
        assert [chapter["metadata"]["title"] or None for chapter in source.chapters()] == titles
    assert copy_video(VideoSource(clip), tmp_path / "out.mkv") == []
    assert subtitles_of(tmp_path / "out.mkv") == ["Hello"]
