"""Decodes one audio stream past damage: holes filled with silence, NaN replaced, one sample format throughout."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from client.errors import MediaError
from client.media.choosing import choose_stream
from client.media.opening import JUMP_AHEAD_S, clock_may_jump, open_media, read_packets
from client.shortage import raise_if_short

SMALLEST_GAP_S = 0.2  # shorter holes between timestamps are jitter; longer ones are filled with silence
LONGEST_GAP_S = 600.0  # longer ones are broken timestamps; see also JUMP_AHEAD_S
JUMP_BACK_S = 1.0  # timestamps that fall back further begin a new count
LARGEST_SAMPLE = 1e10  # beyond 32-bit integers stored as they are; encoders refuse 1e16 like infinity
READABLE_FORMATS = ("u8", "s16", "s32", "flt", "dbl")  # packed and planar; what numpy can view
MAX_PLANES = 8  # PyAV reads beyond the planes of frames with more channels

_Parameters = tuple[str, str, int]  # sample format, channel layout, rate in Hz


@dataclass
class AudioDamage:
    """What went wrong while decoding a stream."""

    gaps: int = 0
    overlaps: int = 0
    clock_jumps: int = 0
    undecodable: int = 0
    unusable_samples: bool = False

    @property
    def is_none(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.gaps or self.overlaps or self.clock_jumps or self.undecodable or self.unusable_samples)

    def warnings(self) -> Iterator[str]:
        """Yield one line for each kind of damage."""
        if self.unusable_samples:
            yield "samples that are not numbers (NaN or infinite) or beyond all measure were replaced by silence"
        if self.gaps:
            yield f"{self.gaps} holes were filled with silence"
        if self.overlaps:
            yield f"{self.overlaps} overlapping pieces were played one after the other"
        if self.clock_jumps:
            yield "the clock of its timestamps jumps; the parts were joined without gaps"
        if self.undecodable:
            yield f"{self.undecodable} damaged packets could not be decoded and were skipped"

    def note_undecodable(self) -> None:
        """Count a packet that could not be decoded."""
        self.undecodable += 1


class AudioReader:
    """Decodes the audio of a file, once.

    Args:
        path: an audio file, or a video with audio.
        delay_s: seconds of silence before the first sample.

    Attributes:
        codec: name of the codec; known from the first frame on.
        sample_count: samples yielded so far, at the stream's own rate.
        start_s: timestamp of the first sample, in seconds.
        damage: what went wrong so far.
    """

    def __init__(self, path: Path, delay_s: float = 0.0) -> None:
        """Remember the path; the file is opened by `frames`."""
        self._path = path
        self._delay_s = delay_s
        self.codec = ""
        self.sample_count = 0
        self.start_s = 0.0
        self.damage = AudioDamage()
        self._zero_s: float | None = None  # where the timestamps put sample 0
        self._longest_gap_s = LONGEST_GAP_S

    def frames(self) -> Generator[AudioFrame, None, None]:
        """Yield the samples as decoded: own rate, channels and sample format (one that numpy can view).

        Raises:
            MediaError: the file cannot be used or has no audio.
        """
        unifier = _Unifier()
        with open_media(self._path) as container:
            stream = choose_stream(container, "audio", self._path)
            self.codec = stream.codec_context.codec.canonical_name
            self._longest_gap_s = JUMP_AHEAD_S if clock_may_jump(container) else LONGEST_GAP_S
            for packet in read_packets(container, stream, self.damage.note_undecodable):
                try:
                    frames = [same for frame in packet.decode() if frame.samples for same in unifier.unify(frame)]
                except (av.FFmpegError, ValueError) as error:
                    raise_if_short(error)
                    self.damage.note_undecodable()
                    continue
                for frame in frames:
                    yield from self._gapless(frame)

    def _gapless(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        gap = self._gap_before(frame)
        if not self.sample_count:
            gap = self._delay_samples(frame)
        if gap:
            yield from _silence(frame, gap)
        yield self._without_nan(frame)
        self.sample_count += gap + frame.samples

    def _gap_before(self, frame: AudioFrame) -> int:
        """Return how many samples are missing before a frame."""
        if frame.pts is None or frame.time_base is None:
            return 0
        time_s = float(frame.pts * frame.time_base)
        if self._zero_s is None:
            self.start_s = self._zero_s = time_s
        missing_s = time_s - self._zero_s - self.sample_count / frame.sample_rate
        if SMALLEST_GAP_S <= missing_s <= self._longest_gap_s:
            self.damage.gaps += 1
            return round(missing_s * frame.sample_rate)
        if abs(missing_s) >= SMALLEST_GAP_S:
            if -JUMP_BACK_S <= missing_s < 0:
                self.damage.overlaps += 1
            else:
                self.damage.clock_jumps += 1
            self._zero_s += missing_s  # trust the new timestamps from here on
        return 0

    def _delay_samples(self, first: AudioFrame) -> int:
        """Return how many samples of silence come before the first frame."""
        if self._zero_s is not None:
            self._zero_s -= self._delay_s
        return round(self._delay_s * first.sample_rate)

    def _without_nan(self, frame: AudioFrame) -> AudioFrame:
        if frame.format.name.rstrip("p") not in ("flt", "dbl"):
            return frame
        samples = frame.to_ndarray()
        usable = np.abs(samples) <= LARGEST_SAMPLE  # false for NaN
        if usable.all():
            return frame
        self.damage.unusable_samples = True
        replaced = AudioFrame.from_ndarray(np.where(usable, samples, 0), frame.format.name, frame.layout.name)
        replaced.sample_rate, replaced.pts, replaced.time_base = frame.sample_rate, frame.pts, frame.time_base
        return replaced


def sound_start_s(path: Path) -> float | None:
    """Return the timestamp of a file's first sample, in seconds; None if it has no audio that can be read."""
    reader = AudioReader(path)
    try:
        with closing(reader.frames()) as frames:
            return None if next(frames, None) is None else reader.start_s
    except MediaError:
        return None


class _Unifier:
    """Converts every frame to the first one's sample format, channels and rate, which damaged files change midway."""

    def __init__(self) -> None:
        self._target: _Parameters | None = None
        self._source: _Parameters | None = None
        self._resampler = AudioResampler()

    def unify(self, frame: AudioFrame) -> list[AudioFrame]:
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._target is None:
            self._target = (_readable_format(frame), *source[1:])
        if source == self._target:
            return [frame]
        if source != self._source:
            self._resampler, self._source = AudioResampler(*self._target), source
        return self._resampler.resample(frame)


def _readable_format(frame: AudioFrame) -> str:
    name = frame.format.name
    packed = name.removesuffix("p")
    if packed not in READABLE_FORMATS:
        return "dbl"
    return packed if frame.layout.nb_channels > MAX_PLANES else name


def _silence(like: AudioFrame, samples: int) -> Iterator[AudioFrame]:
    while samples > 0:
        count = min(samples, like.sample_rate)
        frame = AudioFrame(like.format.name, like.layout.name, count)
        frame.sample_rate = like.sample_rate
        value = 128 if like.format.name.startswith("u8") else 0
        for plane in frame.planes:
            plane.update(bytes([value]) * plane.buffer_size)
        yield frame
        samples -= count
