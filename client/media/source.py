"""A video or still picture as a stream of pictures with timestamps. Does not read audio."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from client.errors import MediaError, UsageError, ref
from client.media.geometry import Orientation
from client.media.picture import Picture
from client.media.pixels import BT709, ColorTags, NativeFormat, convert, is_transparent, nearest_native, to_native
from client.media.reader import VideoReader

DECODER_THREADS = 2  # each holds several frames; two decode 1080x1920 much faster than real time
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


@dataclass(frozen=True)
class VideoFacts:
    """What the header and the first frames of a video tell.

    Attributes:
        coded_width: width as stored, in pixels.
        coded_height: height as stored, in pixels.
        pix_fmt: FFmpeg's name of the decoded pixel format.
        native: the format that pictures are converted to.
        tags: colour tags.
        orientation: how the coded picture is made upright.
        sample_aspect_ratio: width by height of a pixel.
        time_base: seconds per tick.
        rate: average frames per second.
        start_pts: timestamp of the first frame, in ticks.
        stated_duration_s: length according to the header; None if it states none.
        stated_frames: number of frames according to the header; 0 if it states none.
        is_still: whether there is only one frame.
    """

    coded_width: int
    coded_height: int
    pix_fmt: str
    native: NativeFormat
    tags: ColorTags
    orientation: Orientation
    sample_aspect_ratio: Fraction
    time_base: Fraction
    rate: Fraction
    start_pts: int
    stated_duration_s: float | None
    stated_frames: int
    is_still: bool


class VideoSource:
    """One video file, or a span of it, that can be read repeatedly in bounded memory.

    Args:
        path: the file; a still picture is a video of one frame.
        start: start of the span, in seconds from the first frame.
        end: end of the span, in seconds from the first frame; None for the end of the file.
        threads: decoder threads.

    Raises:
        MediaError: the file cannot be used.
        UsageError: the span lies outside the file.
    """

    def __init__(
        self, path: str | Path, start: float = 0.0, end: float | None = None, threads: int = DECODER_THREADS
    ) -> None:
        """Read the first frames."""
        self.path = Path(path)
        self.start = start
        self.end = end
        self._threads = threads
        self._warnings: dict[str, None] = {}
        self._timestamps = array("q")  # of the span's frames; complete once the span was read to its end
        self._read_whole = False
        self._seekable = True
        self.facts = self._probe()
        if self.is_still and (start or end is not None):
            raise UsageError(
                option=("start", "end"),
                expected="a video",
                got="a single picture",
                advice="Cut the audio instead",
            )
        if end is not None and end <= start:
            raise UsageError(
                option="end",
                expected=f"a time after {ref('start')} ({start:g} s)",
                got=f"{end:g} s",
                advice="Swap or drop one",
            )
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

    @property
    def duration(self) -> float | None:
        """Length of the span in seconds, as stated by the file; exact once it was read to its end."""
        if self._read_whole and self._timestamps:
            ticks = self._timestamps[-1] - self._timestamps[0]
            return float(ticks * self.time_base + 1 / self.rate)
        whole = self.facts.stated_duration_s
        if whole is None:
            return None if self.end is None else self.end - self.start
        return max(0.0, min(whole, self.end or whole) - self.start)

    @property
    def frame_estimate(self) -> int | None:
        """Number of frames in the span, as stated by the file; exact once it was read to its end."""
        if self._read_whole:
            return len(self._timestamps)
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
        timestamps = array("q")
        last_duration = 0
        with VideoReader(self.path, self._threads) as reader:
            for picture, pts, own_duration in self._decode(reader):
                if pending:
                    yield self._frame(*pending, duration=pts - pending[1])
                if self._is_past_end(pts):
                    pending = None
                    break
                pending = (picture, pts, len(timestamps))
                timestamps.append(pts)
                last_duration = own_duration
            if pending:
                yield self._frame(*pending, duration=last_duration or self._step)
            self._finish(reader, timestamps)

    def block(self, first: int, last: int, reader: VideoReader) -> Iterator[SourceFrame]:
        """Yield the frames first..last-1 of a span that has been read to its end.

        Args:
            first: index of the first frame.
            last: index after the last frame.
            reader: an open reader of this file, from `open_reader`.
        """
        missing = {pts: first + place for place, pts in enumerate(self._timestamps[first:last])}
        for picture, pts, _ in self._decode_block(reader, first, last):
            index = missing.pop(pts, None)
            if index is not None:
                yield self._frame(picture, pts, index, duration=self._known_duration(index))
            if not missing:
                return

    def open_reader(self) -> VideoReader:
        """Open the file again, for `block`."""
        return VideoReader(self.path, self._threads)

    @property
    def frames_read(self) -> int:
        """Number of frames in the span, once it was read to its end."""
        return len(self._timestamps)

    def pts_of(self, index: int) -> int:
        """Return the timestamp of a frame of the span, once it was read to its end."""
        return self._timestamps[index]

    def pts_at(self, time_s: float) -> int:
        """Return the timestamp at a time in seconds from the file's first frame."""
        return self.facts.start_pts + round(time_s / self.time_base)

    def holds(self, pts: int) -> bool:
        """Return whether a timestamp lies in the span."""
        return pts >= self.pts_at(self.start) and not self._is_past_end(pts)

    def loose_frame(self, frame: av.VideoFrame) -> SourceFrame:
        """Wrap a frame that was decoded out of order; its index is an estimate from its time."""
        pts = frame.pts or 0
        index = round((pts - self.pts_at(self.start)) * self.time_base * self.rate)
        return self._frame(self._picture(frame), pts, index, duration=self._step)

    @property
    def _step(self) -> int:
        return max(1, round(1 / (self.rate * self.time_base)))

    def _probe(self) -> VideoFacts:
        with VideoReader(self.path, 1) as reader:
            frames = list(islice(reader.decode(), 2))
            if not frames:
                raise _nothing_decodable(self.path)
            self._seekable = frames[0].pts is not None
            self._warn_about_look(frames[0])
            return _facts(reader, frames, self)

    def _may_start_after_end(self) -> bool:
        stated_s = self.facts.stated_duration_s
        return self.start > 0 and (stated_s is None or self.start >= stated_s)

    def _warn_about_look(self, frame: av.VideoFrame) -> None:
        if is_transparent(frame):
            self.warn("its transparency is not kept")
        if frame.interlaced_frame:
            self.warn("it is interlaced and is treated as progressive; deinterlace it first for better results")

    def _decode(self, reader: VideoReader) -> Iterator[tuple[Picture, int, int]]:
        """Yield picture, timestamp and stated duration of the frames from the span's start on."""
        start_pts = self.pts_at(self.start)
        check = reader.timestamps()
        seeks = self.start > 0 and self._seekable
        for frame in reader.decode_from(start_pts) if seeks else reader.decode():
            duration = int(frame.duration or 0)
            pts = check.next(frame.pts, duration)
            if pts >= start_pts:
                yield self._picture(frame), pts, duration
        reader.damage.repaired_timestamps = check.repaired

    def _decode_block(self, reader: VideoReader, first: int, last: int) -> Iterator[tuple[Picture, int, int]]:
        if self._seekable:
            end_pts = self._timestamps[last - 1]
            for frame in reader.decode_from(self._timestamps[first]):
                if frame.pts is not None:
                    yield self._picture(frame), frame.pts, 0
                    if frame.pts >= end_pts:
                        return
        else:
            reader.reopen()
            yield from islice(self._decode(reader), first, last)

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

    def _known_duration(self, index: int) -> int:
        if index + 1 < len(self._timestamps):
            return self._timestamps[index + 1] - self._timestamps[index]
        return self._step

    def _is_past_end(self, pts: int) -> bool:
        return self.end is not None and pts >= self.pts_at(self.end)

    def _finish(self, reader: VideoReader, timestamps: array[int]) -> None:
        if not timestamps:
            if self.start > 0:
                raise UsageError(
                    option="start",
                    expected=f"a time within {self.path}",
                    got=f"{self.start:g} s",
                    advice="Choose an earlier one",
                )
            raise _nothing_decodable(self.path)
        self._timestamps = timestamps
        self._read_whole = True
        self._seekable = self._seekable and not reader.damage.repaired_timestamps
        for line in reader.damage.warnings():
            self.warn(line)
        if self.end is None:
            self._warn_if_cut_off(reader, timestamps[-1])

    def _warn_if_cut_off(self, reader: VideoReader, last_pts: int) -> None:
        read_s = float((last_pts - self.facts.start_pts) * self.time_base + 1 / self.rate)
        stated_s = self.facts.stated_duration_s
        short = stated_s is not None and stated_s - read_s > max(MISSING_END_S, MISSING_END_SHARE * stated_s)
        if short or reader.ends_before_its_index():
            of = f" of {stated_s:.2f}" if stated_s else ""
            self.warn(f"it is cut off; {read_s:.2f}{of} seconds could be read and are used")


def _facts(reader: VideoReader, frames: list[av.VideoFrame], source: VideoSource) -> VideoFacts:
    first, stream = frames[0], reader.stream
    native = nearest_native(first.format.name)
    return VideoFacts(
        coded_width=first.width,
        coded_height=first.height,
        pix_fmt=first.format.name,
        native=native,
        tags=_tags(first, native),
        orientation=_orientation(first, source),
        sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or 1),
        time_base=reader.time_base,
        rate=reader.rate,
        start_pts=reader.timestamps().next(first.pts, 0),
        stated_duration_s=reader.stated_duration_s,
        stated_frames=stream.frames,
        is_still=len(frames) == 1,
    )


def _tags(frame: av.VideoFrame, native: NativeFormat) -> ColorTags:
    tags = ColorTags.of_frame(frame)
    if not native.is_rgb:
        return tags
    return ColorTags(range=2, space=BT709, primaries=tags.primaries, transfer=tags.transfer)


def _orientation(frame: av.VideoFrame, source: VideoSource) -> Orientation:
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])  # type: ignore[typeddict-item]  # missing in PyAV's stub
    except KeyError:
        return Orientation()
    except ValueError:  # PyAV cannot list side data newer than its enum (EXIF), but still reads the angle
        return Orientation.from_rotation(frame.rotation)
    if frame.rotation % 90:
        source.warn(f"its rotation of {frame.rotation} degrees was rounded to a quarter turn")
    return Orientation.from_matrix(np.frombuffer(matrix, "<i4").tolist())


def _nothing_decodable(path: Path) -> MediaError:
    return MediaError(
        about=path,
        expected="at least one frame that can be decoded",
        got="none",
        advice="The file is damaged or incomplete; copy or export it again",
    )
