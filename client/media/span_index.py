"""Where the frames of a span lie in its file, and how to decode some of them again. Converts no pictures."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import av

from client.media.reader import PacketPlace, VideoReader


def _numbers() -> array[int]:
    return array("q")


@dataclass
class SpanIndex:
    """Where the frames of a span lie; complete once the span was read to its end.

    Attributes:
        origin: timestamp that was sought before reading; None for the start of the file.
        first_pts: timestamp of the first frame in the file, if that is shown before the span starts; else None.
        timestamps: the frames' timestamps in presentation order, in ticks; repaired where they do not increase.
        packets: number of each frame's packet, counted from the origin in the order of the file.
        starts: indices of the frames that decoding can start at.
        last_duration: duration of the last frame, in ticks.
        is_sought_by_time: whether the file can be sought by these timestamps.
    """

    origin: int | None = None
    first_pts: int | None = None
    timestamps: array[int] = field(default_factory=_numbers)
    packets: array[int] = field(default_factory=_numbers)
    starts: array[int] = field(default_factory=_numbers)
    last_duration: int = 0
    is_sought_by_time: bool = True

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.timestamps)

    @property
    def ticks(self) -> int:
        """Length of the span, in ticks."""
        return self.timestamps[-1] + self.last_duration - self.timestamps[0]

    def add(self, pts: int, place: PacketPlace) -> None:
        """Add the next frame."""
        if place.is_key:
            self.starts.append(len(self))
        self.timestamps.append(pts)
        self.packets.append(place.number)

    def duration(self, index: int) -> int:
        """Return for how long a frame is shown, in ticks."""
        if index + 1 < len(self):
            return self.timestamps[index + 1] - self.timestamps[index]
        return self.last_duration

    def decode(self, reader: VideoReader, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode the frames first..last-1 again, and few others; yield each with its index."""
        return self._by_time(reader, first, last) if self.is_sought_by_time else self._by_number(reader, first, last)

    def _by_time(self, reader: VideoReader, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
        missing = {self._pts_in_file(index): index for index in range(first, last)}
        for frame in reader.decode_from(self._pts_in_file(first)):
            if frame.pts is None:
                continue
            if frame.pts in missing:
                yield missing.pop(frame.pts), frame
            if frame.pts >= self._pts_in_file(last - 1):
                return

    def _by_number(self, reader: VideoReader, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
        missing = {number: first + place for place, number in enumerate(self.packets[first:last])}
        for frame in reader.decode_again(self.origin, self._start_before(first, last)):
            number = PacketPlace.of(frame).number
            if number in missing:
                yield missing.pop(number), frame
            if not missing:
                return

    def _pts_in_file(self, index: int) -> int:
        return self.timestamps[index] if index or self.first_pts is None else self.first_pts

    def _start_before(self, first: int, last: int) -> int:
        """Return the number of the packet to start at: the last key frame before these, in the file and in time."""
        earliest = min(self.packets[first:last])
        for place in range(bisect_right(self.starts, first) - 1, -1, -1):
            number = self.packets[self.starts[place]]
            if number <= earliest:
                return number
        return 0
