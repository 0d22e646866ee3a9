"""Data, attached files and second videos of a source: in the output, or named as left out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import OutputContainer

from client.media import VideoSource
from tests.media_clips import copy_video, further_packet, pattern, write_beside

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


def test_names_of_chapters_are_no_subtitles(tmp_path: Path) -> None:
    """In a silent mp4 with a timecode, nothing says that the track of the chapters' names is one."""

    def declare(container: OutputContainer) -> list[av.Packet]:
        container.metadata["timecode"] = "01:02:03:04"
        container.set_chapters(
            [{"id": i, "start": 200 * i, "end": 200 * (i + 1), "time_base": Fraction(1, 1000),
              "metadata": {"title": f"Part {i}"}} for i in range(2)]
        )  # fmt: skip
        return []

    clip = write_beside(tmp_path / "clip.mp4", declare)
    with av.open(str(clip)) as source:
        assert [stream.name for stream in source.streams.subtitles] == ["mov_text"]
    assert copy_video(VideoSource(clip), tmp_path / "out.mkv") == []
    with av.open(str(tmp_path / "out.mkv")) as written:
        assert [stream.type for stream in written.streams] == ["video"]
        assert [chapter["metadata"]["title"] for chapter in written.chapters()] == ["Part 0", "Part 1"]
