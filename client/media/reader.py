"""Decodes a video stream from any time on, past damage, with strictly increasing timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags, ThreadType
from av.video.stream import VideoStream

from client.media.choosing import choose_stream
from client.media.heif import decode_grid, find_grid
from client.media.nvdec import CardDecoder, planar
from client.media.opening import DECODER_OPTIONS, JUMP_AHEAD_S, clock_may_jump, open_media, read_packets
from client.shortage import raise_if_short

DEFAULT_RATE = Fraction(25)  # frames per second of still pictures and of files that state no rate
PLAUSIBLE_RATE = (Fraction(1, 86_400), Fraction(1000))  # time-lapses show a frame for minutes
SEEK_MARGINS_S = (0, 1, 10)  # how much earlier to seek if the key frame found lies too late
JUMP_BACK_S = 1  # timestamps that fall back further begin a new count; less is an error in single frames
BROKEN_GAP_S = 86_400  # no frame is shown for longer, in any container; see also JUMP_AHEAD_S


@dataclass
class Damage:
    """What went wrong while reading a stream."""

    undecodable: int = 0
    flagged_packets: int = 0
    concealed_frames: int = 0
    repaired_timestamps: int = 0
    clock_jumps: int = 0
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
        if self.clock_jumps:
            yield "the clock of its timestamps jumps; the parts were joined without gaps"


@dataclass(frozen=True)
class PacketPlace:
    """Where the packet of a frame lies.

    Attributes:
        number: counted in the order of the file from the last seek, or from the start.
        is_key: whether decoding can start with it.
    """

    number: int = 0
    is_key: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> PacketPlace:
        """Return the place of a decoded frame's packet; the file's first for pictures that were joined from tiles."""
        return frame.opaque if isinstance(frame.opaque, cls) else cls()


@dataclass
class RisingTimestamps:
    """Passes increasing timestamps through and replaces the others.

    Attributes:
        step: ticks of an average frame.
        jump_back: ticks; timestamps that fall back further begin a new count.
        jump_ahead: ticks; the same for timestamps that lie further ahead than the frame before is shown.
        repaired: number of timestamps replaced so far, without those of a new count.
        jumps: number of new counts so far.
    """

    step: int
    jump_back: int
    jump_ahead: int
    repaired: int = 0
    jumps: int = 0
    _last: int | None = None  # as returned
    _last_given: int | None = None  # on the same count
    _last_step: int = 0
    _offset: int = 0

    def next(self, pts: int | None, duration: int) -> int:
        """Return the timestamp of the next frame in presentation order."""
        result = self._choose(pts)
        if pts is None or result != pts + self._offset:
            self.repaired += 1
        self._last, self._last_step = result, duration if duration > 0 else self.step
        self._last_given = None if pts is None else pts + self._offset
        return result

    def _choose(self, pts: int | None) -> int:
        if self._last is None:
            return pts or 0
        expected = self._last + self._last_step
        if pts is None:
            return expected
        given = pts + self._offset
        if self._last - given > self.jump_back or given - expected > self.jump_ahead:
            self._offset = expected - pts
            self.jumps += 1
            return expected
        if given > self._last:
            return given
        if self._last_given is not None and given > self._last_given:  # a repaired frame overtook it: catch up
            return self._last + max(1, self._last_step // 2)
        return expected


class VideoReader:
    """An open video stream, decoded forward from the last seek.

    Attributes:
        stream: PyAV's video stream; of a picture made of tiles, one of these.
        grid: how a picture is made of tiles; None if it is stored in one piece.
        damage: what went wrong so far.
        origin: timestamp of the last seek; None if the file is read from its start.
    """

    def __init__(self, path: Path, threads: int, card: CardDecoder | None = None) -> None:
        """Open the file; a graphics card decodes it, or some threads of the processor."""
        self._path = path
        self._card = card
        self._threads = threads if card is None else 1
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
        step = frame_ticks(self.rate, self.time_base)
        ahead_s = JUMP_AHEAD_S if self.clock_may_jump else BROKEN_GAP_S
        return RisingTimestamps(step, round(JUMP_BACK_S / self.time_base), round(ahead_s / self.time_base))

    @property
    def clock_may_jump(self) -> bool:
        """Whether timestamps need not continue, as in a joined or edited MPEG stream."""
        return clock_may_jump(self._container)

    def decode(self, skip_until: int | None = None, first_packet: int = 0) -> Iterator[av.VideoFrame]:
        """Yield the frames from the current position on, in presentation order.

        Args:
            skip_until: frames before this timestamp are not needed, so non-reference frames may be skipped.
            first_packet: number of the first packet to decode; those before it are only read.
        """
        if self.grid is not None:
            yield from decode_grid(self._container, self.grid, self._path)
            return
        context = self.stream.codec_context
        for packet in read_packets(self._container, self.stream, self._note_unreadable):
            packet.opaque = PacketPlace(self._packets_read, packet.is_keyframe)
            self._packets_read += 1
            if packet.opaque.number < first_packet:
                continue
            self.damage.flagged_packets += packet.is_corrupt
            unwanted = skip_until is not None and packet.pts is not None and packet.pts < skip_until
            context.skip_frame = "NONREF" if unwanted else "DEFAULT"
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                raise_if_short(error)
                self.damage.undecodable += 1
                continue
            for frame in frames:
                self.damage.concealed_frames += frame.is_corrupt
                yield frame if self._card is None else planar(frame, self._card.pix_fmt)

    def decode_from(self, pts: int) -> Iterator[av.VideoFrame]:
        """Yield the frames from a timestamp on, after seeking to the key frame before it."""
        for frame in self.decode_around(pts, skip_until=pts):
            if frame.pts is None or frame.pts >= pts:
                yield frame

    def decode_around(self, pts: int, skip_until: int | None = None) -> Iterator[av.VideoFrame]:
        """Yield the frames from the key frame before a timestamp on; `skip_until` as for `decode`."""
        for margin in SEEK_MARGINS_S:
            if not self.seek_near(pts - round(margin / self.time_base)):
                break
            frames = self.decode(skip_until)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= pts:
                yield first
                yield from frames
                return
        self.reopen()
        yield from self.decode(skip_until)

    def decode_again(self, origin: int | None, first_packet: int) -> Iterator[av.VideoFrame]:
        """Yield the frames from a packet on.

        Args:
            origin: the reader's origin when that packet was read.
            first_packet: its number.
        """
        if origin is None:
            self.reopen()
        else:
            self.seek_near(origin)
        yield from self.decode(first_packet=first_packet)

    def has_jump_before(self, pts: int) -> bool:
        """Return whether the clock jumps before a timestamp, so that it cannot be sought; reads on to that point."""
        if not self.clock_may_jump:
            return False
        back, ahead = round(JUMP_BACK_S / self.time_base), round(JUMP_AHEAD_S / self.time_base)
        last: int | None = None
        for packet in read_packets(self._container, self.stream, self._note_unreadable):
            if packet.dts is None:
                continue
            if last is not None and not -back <= packet.dts - last <= ahead:
                return True
            if packet.dts >= pts:
                return False
            last = packet.dts
        return False

    def seek_near(self, pts: int) -> bool:
        """Seek to the key frame before a timestamp; return whether the file is seekable."""
        try:
            self._container.seek(pts, stream=self.stream)
        except av.FFmpegError as error:
            raise_if_short(error)
            return False
        self._count_from(pts)
        return True

    def reopen(self) -> None:
        """Go back to the start, also in files that are not seekable."""
        self.close()
        self._open()

    @property
    def stated_duration_s(self) -> float | None:
        """Length in seconds, as stated by the file."""
        own = self._own_duration_s
        if own is not None:
            return own
        return self._container.duration / av.time_base if self._container.duration else None

    @property
    def states_own_duration(self) -> bool:
        """Whether the stated length is the video's own, and not that of a longer sound beside it."""
        return self._own_duration_s is not None or len(self._container.streams) == 1

    @property
    def _own_duration_s(self) -> float | None:
        if "matroska" in self._container.format.name:  # its streams are given the whole file's length
            return _seconds(self.stream.metadata.get("DURATION", ""))
        return float(self.stream.duration * self.time_base) if self.stream.duration else None

    def ends_before_its_index(self) -> bool:
        """Return whether the file is shorter than its own index says, as after an incomplete download."""
        entries = self.stream.index_entries
        if not len(entries):
            return False
        last = entries[len(entries) - 1]
        return last.pos + last.size > self._path.stat().st_size

    def _open(self) -> None:
        with ExitStack() as stack:
            accelerator = None if self._card is None else self._card.accelerator
            self._container = stack.enter_context(open_media(self._path, accelerator=accelerator))
            self.stream: VideoStream = choose_stream(self._container, "video", self._path)
            self.grid = find_grid(self._container, self.stream, self._path)
            self._stack = stack.pop_all()
        self._count_from(None)
        self.stream.codec_context.options = DECODER_OPTIONS
        self.stream.codec_context.flags |= Flags.copy_opaque  # frames keep the place of their packet
        self.stream.codec_context.thread_count = self._threads
        self.stream.codec_context.thread_type = ThreadType.AUTO

    def _count_from(self, origin: int | None) -> None:
        self.origin = origin
        self._packets_read = 0

    def _note_unreadable(self) -> None:
        self.damage.unreadable = True


def frame_ticks(rate: Fraction, time_base: Fraction) -> int:
    """Return how long a frame is shown, in ticks of `time_base` seconds; at least 1."""
    return max(1, round(1 / (rate * time_base)))


def _seconds(text: str) -> float | None:
    """Read a length such as 00:00:10.500000000."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds or None
