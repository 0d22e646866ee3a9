"""A video or still picture as a stream of pictures with timestamps. Does not read audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path

import av

from client.errors import MediaError
from client.media.audio_reader import sound_start_s
from client.media.decoders import DecoderKind, choose_decoder
from client.media.facts import VideoFacts, read_facts
from client.media.opening import animated_webp
from client.media.picture import Picture
from client.media.pixels import ColorTags, convert, to_native
from client.media.reader import PacketPlace, RisingTimestamps, VideoReader
from client.media.size_limit import check_size, check_stated_size, check_undecodable
from client.media.span import Span
from client.media.span_index import SpanIndex

DECODER_THREADS = 2  # each holds several frames; two decode 1080x1920 much faster than real time
MAX_LEAD_S = 600.0  # streams of one file that start further apart have broken timestamps
MISSING_END_S = 1.0  # a file that ends earlier than stated by more than this (and MISSING_END_SHARE) is cut off
MISSING_END_SHARE = 0.02


@dataclass(frozen=True)
class SourceFrame:
    """One picture of the source.

    Attributes:
        picture: its pixels.
        pts: when it is shown, in ticks of the source's time base.
        duration: for how long, in ticks.
        index: number of the frame, counted from the start of the span.
        time_s: when it is shown, in seconds from the file's first frame.
    """

    picture: Picture
    pts: int
    duration: int
    index: int
    time_s: float


class VideoSource:
    """One video file, or a span of it, that can be read repeatedly in bounded memory.

    Args:
        path: the file; a still picture is a video of one frame.
        start: start of the span, in seconds from the first frame.
        end: end of the span, in seconds from the first frame; None for the end of the file.
        decoder: what decodes it, see `choose_decoder`.

    Raises:
        MediaError: the file cannot be used.
        UsageError: the span lies outside the file, or the decoder cannot be used.
    """

    def __init__(
        self, path: str | Path, start: float = 0.0, end: float | None = None, decoder: DecoderKind = "cpu"
    ) -> None:
        """Read the first frames."""
        self.path = Path(path)
        self.start = start
        self.end = end
        self._warnings: dict[str, None] = {}
        self._index: SpanIndex | None = None  # once the span was read to its end
        self._seekable = True
        self.facts = self._probe()
        self._card, notes = choose_decoder(self.path, self.facts, decoder)
        self._warnings |= dict.fromkeys(notes)
        self._span = Span.of_video(self.facts, start, end)
        if self._may_start_after_end():
            next(self.frames())  # raises UsageError

    @property
    def width(self) -> int:
        """Width of the upright picture, in pixels."""
        return self.facts.orientation.size(self.facts.coded_width, self.facts.coded_height)[0]

    @property
    def height(self) -> int:
        """Height of the upright picture, in pixels."""
        return self.facts.orientation.size(self.facts.coded_width, self.facts.coded_height)[1]

    @property
    def rotation(self) -> int:
        """Clockwise degrees (0, 90, 180, 270) from coded to upright."""
        return self.facts.orientation.rotation

    @property
    def frame_bytes(self) -> int:
        """Size of one decoded frame, in bytes."""
        across, down = self.facts.native.grid
        samples = self.facts.coded_width * self.facts.coded_height
        return (samples + 2 * samples // (across * down)) * self.facts.native.dtype.itemsize

    @property
    def bit_depth(self) -> int:
        """Bits per sample."""
        return self.facts.native.depth

    @property
    def tags(self) -> ColorTags:
        """Colour range, matrix, primaries and transfer."""
        return self.facts.tags

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick."""
        return self.facts.time_base

    @property
    def rate(self) -> Fraction:
        """Average frames per second."""
        return self.facts.rate

    @property
    def is_still(self) -> bool:
        """Whether the file contains exactly one picture."""
        return self.facts.is_still

    @cached_property
    def sound_lead_s(self) -> float:
        """How long before the picture the file's own sound starts, in seconds; negative if it starts later.

        The speech takes its place, so it starts when the sound did. In a span it starts with the picture.
        """
        sound_s = None if self.is_still or self.start else sound_start_s(self.path)
        if sound_s is None:
            return 0.0
        lead_s = float(self.facts.start_pts * self.time_base) - sound_s
        if abs(lead_s) <= MAX_LEAD_S:
            return lead_s
        self.warn("its picture and sound do not start at about the same time; they start together in the output")
        return 0.0

    @property
    def origin_s(self) -> float:
        """The time in the file, in seconds, at which the output starts."""
        return float(self._span.start_pts * self.time_base) - max(0.0, self.sound_lead_s)

    @property
    def picture_delay(self) -> int:
        """When the picture starts in the output, in ticks."""
        return max(0, round(self.sound_lead_s / self.time_base))

    @property
    def speech_delay_s(self) -> float:
        """When the speech starts in the output, in seconds."""
        return max(0.0, -self.sound_lead_s)

    @property
    def duration(self) -> float | None:
        """Length of the span in seconds, as stated by the file; exact once it was read to its end."""
        if self._index is not None:
            return float(self._index.ticks * self.time_base)
        whole = self.facts.stated_duration_s
        if whole is None:
            return None if self.end is None else self.end - self.start
        return max(0.0, min(whole, self.end or whole) - self.start)

    @property
    def frame_estimate(self) -> int | None:
        """Number of frames in the span, as stated by the file; exact once it was read to its end."""
        if self._index is not None:
            return len(self._index)
        if self.is_still:
            return 1
        if self.facts.stated_frames and not self.start and self.end is None:
            return self.facts.stated_frames
        return None if self.duration is None else max(1, round(self.duration * self.rate))

    @property
    def warnings(self) -> list[str]:
        """What the user should know about the file, as found so far."""
        return list(self._warnings)

    def warn(self, message: str) -> None:
        """Add a warning about this file, once."""
        self._warnings[f"{self.path.name}: {message}"] = None

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the span's frames in presentation order, from its start.

        Raises:
            MediaError: no frame can be decoded.
            UsageError: the span starts after the end of the file.
        """
        pending: tuple[Picture, int, int] | None = None
        index = SpanIndex()
        with self.open_reader() as reader:
            check = reader.timestamps()
            for frame, file_pts, own_duration in self._decode(reader, check):
                pts = max(file_pts, self._span.start_pts)
                if self._span.is_past_end(pts):
                    index.last_duration = self._span.cut(pts) - index.timestamps[-1] if len(index) else 0
                    break
                if pending:
                    yield self._frame(*pending, duration=pts - pending[1])
                pending = (self._picture(frame), pts, len(index))
                if file_pts < pts:
                    index.first_pts = frame.pts
                index.add(pts, PacketPlace.of(frame))
                index.last_duration = own_duration - (pts - file_pts) if own_duration else 0
            index.origin = reader.origin
            index.last_duration = index.last_duration or self._span.step
            if pending:
                yield self._frame(*pending, duration=index.last_duration)
            reader.damage.repaired_timestamps, reader.damage.clock_jumps = check.repaired, check.jumps
            self._finish(reader, index)

    def block(self, first: int, last: int, reader: VideoReader) -> Iterator[SourceFrame]:
        """Yield the frames first..last-1 of a span that has been read to its end.

        Args:
            first: index of the first frame.
            last: index after the last frame.
            reader: an open reader of this file, from `open_reader`.
        """
        for index, frame in self._whole_index.decode(reader, first, last):
            yield self._frame(
                self._picture(frame), self.pts_of(index), index, duration=self._whole_index.duration(index)
            )

    def open_reader(self) -> VideoReader:
        """Open the file again, for `block`."""
        return VideoReader(self.path, DECODER_THREADS, self._card)

    @property
    def frames_read(self) -> int:
        """Number of frames in the span, once it was read to its end."""
        return len(self._whole_index)

    def pts_of(self, index: int) -> int:
        """Return the timestamp of a frame of the span, once it was read to its end."""
        return self._whole_index.timestamps[index]

    def pts_at(self, time_s: float) -> int:
        """Return the timestamp at a time in seconds from the file's first frame."""
        return self._span.pts_at(time_s)

    def holds(self, pts: int) -> bool:
        """Return whether a timestamp lies in the span."""
        return self._span.holds(pts)

    def loose_frame(self, frame: av.VideoFrame) -> SourceFrame:
        """Wrap a frame that was decoded out of order; its index is an estimate from its time."""
        pts = frame.pts or 0
        index = round((pts - self._span.start_pts) * self.time_base * self.rate)
        return self._frame(self._picture(frame), pts, index, duration=self._span.step)

    @property
    def _whole_index(self) -> SpanIndex:
        assert self._index is not None, "the span was not read to its end"
        return self._index

    def _probe(self) -> VideoFacts:
        with VideoReader(self.path, 1) as reader:
            check_stated_size(self.path, reader.stream)
            if reader.grid is not None:
                check_size(self.path, reader.grid.width, reader.grid.height)
            frames = list(islice(reader.decode(), 2))
            if not frames:
                check_undecodable(self.path)
                raise _nothing_decodable(self.path)
            facts = read_facts(reader, frames, self.warn)
            start_pts = facts.start_pts + round(self.start / facts.time_base)
            self._seekable = frames[0].pts is not None and not (self.start and reader.has_jump_before(start_pts))
            return facts

    def _may_start_after_end(self) -> bool:
        stated_s = self.facts.stated_duration_s
        return self.start > 0 and (stated_s is None or self.start >= stated_s or not self.facts.states_own_duration)

    def _decode(self, reader: VideoReader, check: RisingTimestamps) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Yield the frames that the span shows, each with its timestamp and duration in the file."""
        start_pts = self._span.start_pts
        seeks = self.start > 0 and self._seekable
        before: tuple[av.VideoFrame, int, int] | None = None
        for frame in reader.decode_around(start_pts) if seeks else reader.decode():
            duration = int(frame.duration or 0)
            pts = check.next(frame.pts, duration)
            if pts < start_pts:
                before = frame, pts, duration
                continue
            if before is not None and pts - start_pts > self._span.gap:
                yield before
            before = None
            yield frame, pts, duration
        if before is not None and before[1] + before[2] - start_pts > self._span.gap:
            yield before

    def _picture(self, frame: av.VideoFrame) -> Picture:
        facts = self.facts
        tags = facts.tags
        if frame.format.name != facts.pix_fmt or (frame.width, frame.height) != (facts.coded_width, facts.coded_height):
            self.warn("its size or pixel format changes midway; all frames were converted to the first one's")
            size = (facts.coded_width, facts.coded_height)
            return Picture(
                convert(frame, facts.native.name, ColorTags.of_frame(frame), size, tags), tags, facts.orientation
            )
        return Picture(to_native(frame, tags), tags, facts.orientation)

    def _frame(self, picture: Picture, pts: int, index: int, *, duration: int) -> SourceFrame:
        return SourceFrame(picture, pts, duration, index, float((pts - self.facts.start_pts) * self.time_base))

    def _finish(self, reader: VideoReader, index: SpanIndex) -> None:
        if not len(index):
            if self.start > 0:
                raise self._span.starts_too_late(self.path)
            raise _nothing_decodable(self.path)
        damage = reader.damage
        index.is_sought_by_time = self._seekable and not (damage.repaired_timestamps or damage.clock_jumps)
        self._index = index
        for line in damage.warnings():
            self.warn(line)
        if self.end is None and not damage.clock_jumps:
            self._warn_if_cut_off(reader, index.timestamps[-1] + index.last_duration)

    def _warn_if_cut_off(self, reader: VideoReader, end_pts: int) -> None:
        read_s = float((end_pts - self.facts.start_pts) * self.time_base)
        stated_s = self.facts.stated_duration_s
        if not self.facts.states_own_duration:
            stated_s = None
        short = stated_s is not None and stated_s - read_s > max(MISSING_END_S, MISSING_END_SHARE * stated_s)
        if short or reader.ends_before_its_index():
            of = f" of {stated_s:.2f}" if stated_s else ""
            self.warn(f"it is cut off; {read_s:.2f}{of} seconds could be read and are used")


def _nothing_decodable(path: Path) -> MediaError:
    return animated_webp(path) or MediaError(
        about=path,
        expected="at least one frame that can be decoded",
        got="none",
        advice="The file is damaged or incomplete; copy or export it again",
    )
