"""Decodes a video stream from any time on, past damage, with strictly increasing timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import ThreadType
from av.video.stream import VideoStream

from client.media.opening import first_stream, open_media, read_packets

DEFAULT_RATE = Fraction(25)  # frames per second of still pictures and of files that state no rate
PLAUSIBLE_RATE = (Fraction(1, 10), Fraction(1000))
SEEK_MARGINS_S = (0, 1, 10)  # how much earlier to seek if the key frame found lies too late
JUMP_BACK_S = 1  # timestamps that fall back further begin a new count; less is an error in single frames


@dataclass
class Damage:
    """What went wrong while reading a stream."""

    undecodable: int = 0
    flagged_packets: int = 0
    concealed_frames: int = 0
    repaired_timestamps: int = 0
    unreadable: bool = False

    def warnings(self) -> Iterator[str]:
        """Yield one line for each kind of damage."""
        if self.unreadable:
            yield "the file is cut off or damaged; everything before that point was used"
        if self.undecodable:
            yield f"{self.undecodable} damaged packets could not be decoded and were skipped"
        if self.flagged_packets or self.concealed_frames:
            count = max(self.flagged_packets, self.concealed_frames)
            yield f"{count} damaged frames were concealed by the decoder"
        if self.repaired_timestamps:
            yield f"{self.repaired_timestamps} frames had missing or repeated timestamps, which were repaired"


@dataclass
class RisingTimestamps:
    """Passes increasing timestamps through and replaces the others.

    Attributes:
        step: ticks of an average frame.
        jump_back: ticks; timestamps that fall back further begin a new count.
        repaired: number of timestamps replaced so far.
    """

    step: int
    jump_back: int
    repaired: int = 0
    _last: int | None = None
    _last_step: int = 0
    _offset: int = 0

    def next(self, pts: int | None, duration: int) -> int:
        """Return the timestamp of the next frame in presentation order."""
        result = self._choose(pts)
        if pts is None or result != pts:
            self.repaired += 1
        self._last, self._last_step = result, duration if duration > 0 else self.step
        return result

    def _choose(self, pts: int | None) -> int:
        if pts is None:
            return 0 if self._last is None else self._last + self._last_step
        shifted = pts + self._offset
        if self._last is None or shifted > self._last:
            return shifted
        if self._last - shifted > self.jump_back:
            self._offset = self._last + self._last_step - pts
            return pts + self._offset
        return self._last + 1


class VideoReader:
    """An open video stream, decoded forward from the last seek.

    Attributes:
        stream: PyAV's video stream.
        damage: what went wrong so far.
    """

    def __init__(self, path: Path, threads: int) -> None:
        """Open the file."""
        self._path = path
        self._threads = threads
        self.damage = Damage()
        self._open()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    @property
    def rate(self) -> Fraction:
        """Average frames per second, as stated by the file."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate):
            if rate and PLAUSIBLE_RATE[0] <= rate <= PLAUSIBLE_RATE[1]:
                return Fraction(rate)
        return DEFAULT_RATE

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the timestamps."""
        return Fraction(self.stream.time_base or Fraction(1, 90_000))

    def timestamps(self) -> RisingTimestamps:
        """Return a new check of the timestamps, for reading from the start."""
        step = max(1, round(1 / (self.rate * self.time_base)))
        return RisingTimestamps(step, round(JUMP_BACK_S / self.time_base))

    def decode(self, skip_until: int | None = None) -> Iterator[av.VideoFrame]:
        """Yield the frames from the current position on, in presentation order.

        Args:
            skip_until: frames before this timestamp are not needed, so non-reference frames may be skipped.
        """
        context = self.stream.codec_context
        for packet in read_packets(self._container, self.stream, self._note_unreadable):
            self.damage.flagged_packets += packet.is_corrupt
            unwanted = skip_until is not None and packet.pts is not None and packet.pts < skip_until
            context.skip_frame = "NONREF" if unwanted else "DEFAULT"
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damage.undecodable += 1
                continue
            for frame in frames:
                self.damage.concealed_frames += frame.is_corrupt
                yield frame

    def decode_from(self, pts: int) -> Iterator[av.VideoFrame]:
        """Yield the frames from a timestamp on, after seeking to the key frame before it."""
        for margin in SEEK_MARGINS_S:
            try:
                self._container.seek(pts - round(margin / self.time_base), stream=self.stream)
            except av.FFmpegError:
                break
            frames = self.decode(skip_until=pts)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= pts:
                yield from _from(pts, first, frames)
                return
        self.reopen()
        frames = self.decode(skip_until=pts)
        first = next(frames, None)
        if first is not None:
            yield from _from(pts, first, frames)

    def seek_near(self, pts: int) -> bool:
        """Seek to the key frame before a timestamp; return whether the file is seekable."""
        try:
            self._container.seek(pts, stream=self.stream)
        except av.FFmpegError:
            return False
        return True

    def reopen(self) -> None:
        """Go back to the start, also in files that are not seekable."""
        self.close()
        self._open()

    @property
    def stated_duration_s(self) -> float | None:
        """Length in seconds, as stated by the file."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        return self._container.duration / av.time_base if self._container.duration else None

    def ends_before_its_index(self) -> bool:
        """Return whether the file is shorter than its own index says, as after an incomplete download."""
        entries = self.stream.index_entries
        if not len(entries):
            return False
        last = entries[len(entries) - 1]
        return last.pos + last.size > self._path.stat().st_size

    def _open(self) -> None:
        with ExitStack() as stack:
            self._container = stack.enter_context(open_media(self._path))
            self.stream: VideoStream = first_stream(self._container, "video", self._path)
            self._stack = stack.pop_all()
        self.stream.codec_context.thread_count = self._threads
        self.stream.codec_context.thread_type = ThreadType.AUTO

    def _note_unreadable(self) -> None:
        self.damage.unreadable = True


def _from(pts: int, first: av.VideoFrame, rest: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    if first.pts is None or first.pts >= pts:
        yield first
    for frame in rest:
        if frame.pts is None or frame.pts >= pts:
            yield frame
