"""Further streams of the source beside its picture and speech, copied into the output as far as its container can."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import OutputContainer
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream

from client.media.carried.headers import remove_text
from client.media.choosing import choose_stream, is_cover, replaced_sound
from client.media.containers import Container
from client.media.opening import open_media, read_packets
from client.shortage import raise_if_short

TEXT_SUBTITLES = frozenset(("subrip", "ass", "webvtt", "mov_text", "text"))  # each can be made from the others
COVER_TYPES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
CAMERA_TELEMETRY = "GoPro"  # data that mp4 and mov files hold begin their handler's name so
TRIAL_PACKETS = 200  # of all streams of a file
MILLISECOND = Fraction(1, 1000)
TITLE, MP4_TITLE, HANDLER = "title", "name", "handler_name"  # keys of a stream's tags

TimedPacket = tuple[Fraction, Any]  # start in seconds, packet


class FurtherStreams:
    """Subtitles, further sounds, data, attachments and the cover of a file.

    Args:
        output: the output, before its header is written.
        container: its format.
        path: the source.
        origin_s: time in the source, in seconds, at which the output starts.
        anonymous: leave out what tells about the file: cover, attachments, data and titles.

    Attributes:
        left_out: what the output's container cannot hold.
    """

    def __init__(
        self, output: OutputContainer, container: Container, path: Path, origin_s: float, *, anonymous: bool
    ) -> None:
        """Declare the streams in the output."""
        self.left_out: list[str] = []
        self._container = container
        self._path = path
        self._output = output
        self._origin_s = Fraction(origin_s).limit_denominator(1_000_000)
        self._anonymous = anonymous
        self._copies: dict[int, Any] = {}  # index in the source -> stream of the output
        self._recoded: dict[int, Any] = {}  # the same for subtitles in another codec
        self._last: dict[int, int] = {}  # index in the source -> last timestamp, in its ticks
        with ExitStack() as stack:
            self._input = stack.enter_context(open_media(path))
            self._video = choose_stream(self._input, "video", path)
            self._clock_s = _start_s(self._video, self._origin_s)  # how far the video was read, in the source's time
            replaced = (self._video, replaced_sound(self._input))
            for stream in self._input.streams:
                if stream not in replaced:
                    self._add(stream)
            self._stack = stack.pop_all()

    def packets(self) -> Iterator[TimedPacket]:
        """Yield each packet of these streams with its start in seconds, in the order of the source."""
        wanted = [stream for stream in self._input.streams if self._output_of(stream) is not None]
        if not wanted:
            return
        if any(stream.type == "data" for stream in wanted):
            wanted.append(self._video)
        for packet in read_packets(self._input, wanted, lambda: None):
            if packet.stream_index == self._video.index:
                self._follow(packet)
            elif (
                packet.size
                and not packet.is_corrupt
                and packet.time_base is not None
                and self._output_of(packet.stream) is not None
            ):
                yield from self._carried(packet)

    def give_up(self, refused: Any) -> None:
        """Leave out the rest of a stream of the output whose packets its muxer refuses."""
        for streams in (self._copies, self._recoded):
            for index in [index for index, stream in streams.items() if stream is refused]:
                del streams[index]
                self.left_out.append(f"a damaged part of {_name(self._input.streams[index])}")

    def close(self) -> None:
        """Close the source."""
        self._stack.close()

    def _output_of(self, stream: Any) -> Any | None:
        return self._copies.get(stream.index) or self._recoded.get(stream.index)

    def _add(self, stream: Any) -> None:
        try:
            added = self._try_to_add(stream)
        except (av.FFmpegError, ValueError) as error:  # the muxer knows better
            raise_if_short(error)
            added = False
        if not added:
            self.left_out.append(_name(stream))

    def _try_to_add(self, stream: Any) -> bool:
        if self._anonymous and (is_cover(stream) or stream.type in ("data", "attachment")):
            return True  # as asked for
        if is_cover(stream):
            return self._add_cover(stream)
        if stream.type == "subtitle":
            return self._repeats_chapters(stream) or self._add_subtitles(stream)
        if stream.type == "attachment" and self._container.keeps_attachments:
            self._copies[stream.index] = self._output.add_stream_from_template(stream)
            return True
        codec = _codec_of(stream)
        copies_sound = stream.type == "audio" and codec in self._container.audio_codecs and self._takes(stream)
        if copies_sound or self._holds_data(stream):
            self._copies[stream.index] = self._described(self._output.add_stream_from_template(stream), stream)
            return True
        return stream.type == "data" and self._is_helper(stream)

    def _takes(self, stream: Any) -> bool:
        """Try a sound's first packets on the muxer, which may refuse damaged ones only at the end of the job."""
        try:
            with open_media(self._path) as source, av.open(io.BytesIO(), "w", format=self._container.muxer) as trial:
                copy = trial.add_stream_from_template(source.streams[stream.index])
                for packet in islice(source.demux(), TRIAL_PACKETS):
                    if packet.stream_index == stream.index and packet.size:
                        packet.stream = copy
                        trial.mux(packet)
        except (av.FFmpegError, ValueError) as error:
            raise_if_short(error)
            return False
        return True

    def _holds_data(self, stream: Any) -> bool:
        if stream.type != "data":
            return False
        return stream.name in self._container.data_codecs and (stream.name != "bin_data" or _is_telemetry(stream))

    def _is_helper(self, stream: Any) -> bool:
        """Return whether a data stream only repeats what is carried elsewhere: a timecode, or the names of chapters."""
        return "timecode" in stream.metadata or (stream.name == "bin_data" and bool(self._input.chapters()))

    def _repeats_chapters(self, stream: Any) -> bool:
        """Return whether subtitles are the names of chapters.

        FFmpeg's mp4 muxer writes these as a text track, and does not say so in a silent film with a timecode; else it
        is read as data.
        """
        titles = self._chapter_titles()
        if _codec_of(stream) != "mov_text" or not titles or any(map(_may_name_chapters, self._input.streams)):
            return False
        with self._path.open("rb") as file:
            texts = [(entry.timestamp * stream.time_base, _mp4_text(file, entry.pos)) for entry in stream.index_entries]
        texts = [(start_s, text) for start_s, text in texts if text]  # gaps are empty
        if [text for _, text in texts] != [title for _, title in titles]:
            return False
        if texts[0][0] == 0:
            titles[0] = texts[0]  # the first name begins with the film, whenever its chapter does
        return all(
            abs(text_s - title_s) <= MILLISECOND for (text_s, _), (title_s, _) in zip(texts, titles, strict=True)
        )

    def _chapter_titles(self) -> list[tuple[Fraction, str]]:
        """Return start in seconds and title of each chapter that has one."""
        return [
            (chapter["start"] * chapter["time_base"], title)
            for chapter in self._input.chapters()
            if (title := chapter["metadata"].get(TITLE)) and chapter["time_base"] is not None
        ]

    def _add_cover(self, stream: Any) -> bool:
        codec = _codec_of(stream)
        picture = self._cover_picture(stream) if codec in COVER_TYPES else None
        if codec is None or picture is None:
            return False
        if self._container.keeps_attachments:
            self._output.add_attachment(*COVER_TYPES[codec], picture)
            return True
        if self._container.keeps_covers:
            self._copies[stream.index] = self._output.add_stream_from_template(stream, opaque=True)
            self._copies[stream.index].disposition = Disposition.attached_pic
            return True
        return False

    def _cover_picture(self, stream: Any) -> bytes | None:
        """Return a cover's content, from the first packets of the file; None if they hold none."""
        with open_media(self._path) as source:
            packets = (packet for packet in islice(source.demux(), TRIAL_PACKETS) if packet.size)
            return next((bytes(packet) for packet in packets if packet.stream_index == stream.index), None)

    def _add_subtitles(self, stream: Any) -> bool:
        codec = _codec_of(stream)
        if codec is None:
            return False
        if codec in self._container.subtitle_codecs:
            self._copies[stream.index] = self._described(self._output.add_stream_from_template(stream), stream)
            return True
        encoder = self._container.subtitle_encoder
        if encoder is None or codec not in TEXT_SUBTITLES:
            return False
        stream.codec_context.open(strict=False)  # gives the header, which the encoder needs
        recoded: SubtitleStream = self._output.add_stream(encoder)  # type: ignore[assignment]
        recoded.codec_context.time_base = recoded.time_base = MILLISECOND
        recoded.codec_context.subtitle_header = stream.codec_context.subtitle_header
        self._recoded[stream.index] = self._described(recoded, stream)
        return True

    def _described(self, copy: Any, stream: Any) -> Any:
        tags = stream.metadata
        if self._anonymous:
            remove_text(copy)
        else:
            copy.metadata.update(self._titles(tags))
        language = tags.get("language", "und")
        copy.metadata["language"] = self._container.languages.get(language, language)
        copy.disposition = stream.disposition & ~Disposition.default
        return copy

    def _titles(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return the tags that give a stream its title, by the output container's names for them."""
        title = tags.get(TITLE) or tags.get(MP4_TITLE)
        handler = title or tags.get(HANDLER)
        named = {TITLE: title} if title else {}
        return {**named, HANDLER: handler} if handler and self._container.names_handlers else named

    def _carried(self, packet: Any) -> Iterator[TimedPacket]:
        stream, ticks = packet.stream, Fraction(packet.time_base)
        if is_cover(stream):
            packet.pts = packet.dts = 0
            packet.stream = self._copies[stream.index]
            yield Fraction(0), packet
            return
        time = self._time_of(packet, ticks)
        if time is None:
            return
        pts, duration = time - round(self._origin_s / ticks), packet.duration or 0
        pts = max(pts, self._last.get(stream.index, pts - 1) + 1)
        if pts < 0 and pts + duration <= 0:
            return
        carried = self._recode(packet, ticks) if stream.index in self._recoded else packet
        if carried is None:
            return
        self._last[stream.index] = pts
        begin = max(pts, 0) if stream.type == "subtitle" else pts
        carried.pts = carried.dts = begin
        carried.duration = pts + duration - begin
        carried.stream = self._output_of(stream)
        yield begin * ticks, carried

    def _follow(self, packet: Any) -> None:
        """Note how far the video was read."""
        if packet.dts is not None and packet.time_base is not None:
            self._clock_s = packet.dts * Fraction(packet.time_base)

    def _time_of(self, packet: Any, ticks: Fraction) -> int | None:
        """Return when a packet counts, in ticks; data without a time, as of many cameras, belongs to its neighbours."""
        if packet.pts is None and packet.stream.type == "data":
            return round(self._clock_s / ticks)
        return None if packet.pts is None else int(packet.pts)

    def _recode(self, packet: Any, ticks: Fraction) -> Any | None:
        try:
            subtitles = packet.stream.codec_context.decode2(packet)
            if subtitles is None:
                return None
            recoded = self._recoded[packet.stream.index].codec_context.encode_subtitle(subtitles)
        except (av.FFmpegError, ValueError) as error:
            raise_if_short(error)
            return None
        recoded.time_base = ticks
        return recoded


def _is_telemetry(stream: Any) -> bool:
    return stream.name == "bin_data" and stream.metadata.get(HANDLER, "").startswith(CAMERA_TELEMETRY)


def _may_name_chapters(stream: Any) -> bool:
    """Return whether a stream is what FFmpeg makes of a text track that a file says names its chapters."""
    return stream.type == "data" and stream.name == "bin_data" and not _is_telemetry(stream)


def _mp4_text(file: BinaryIO, place: int) -> str:
    """Read a text of an mp4 file: two bytes of length, and the text."""
    file.seek(place)
    return file.read(int.from_bytes(file.read(2), "big")).decode(errors="replace")


def _start_s(stream: Any, default_s: Fraction) -> Fraction:
    """Return when a stream starts, in seconds."""
    return default_s if stream.start_time is None else stream.start_time * Fraction(stream.time_base)


def _codec_of(stream: Any) -> str | None:
    """Return the name of a stream's codec; None if it is not known."""
    return None if stream.codec_context is None else stream.codec_context.codec.canonical_name


def _name(stream: Any) -> str:
    """Name a stream for people."""
    if is_cover(stream):
        return "the cover picture"
    kind = {"audio": "a further sound", "video": "a further video", "subtitle": "subtitles", "data": "data",
            "attachment": "an attachment"}.get(stream.type, "a stream")  # fmt: skip
    codec = _codec_of(stream) or stream.name
    details = [stream.metadata.get("language", ""), codec or ""]
    said = ", ".join(detail for detail in details if detail and detail != "und")
    return f"{kind} ({said})" if said else kind
