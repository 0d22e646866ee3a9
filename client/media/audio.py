"""The given speech: its facts, its samples as decoded, and 16 kHz mono blocks and windows for the models."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from client.errors import MediaError
from client.media.opening import first_stream, open_media, read_packets

SPEECH_RATE = 16_000  # Hz; what every lip-sync network here was trained on
SPEECH_BLOCK = SPEECH_RATE  # samples per block
SMALLEST_GAP_S = 0.2  # shorter holes between timestamps are jitter, longer ones are filled with silence
LONGEST_GAP_S = 600.0  # longer ones are broken timestamps
PLAUSIBLE_RATES = (1_000, 768_000)  # Hz
FULL_SCALE = {"u8": 128.0, "s16": 32_768.0, "s32": 2_147_483_648.0, "flt": 1.0, "dbl": 1.0}
MOST_PLANES = 8  # channels that FFmpeg's frames keep one by one in themselves

_Parameters = tuple[str, str, int]  # sample format, channel layout, rate


@dataclass
class _Tally:
    """What one pass over the samples found."""

    samples: int = 0
    first_pts_s: float | None = None
    gaps: int = 0
    overlaps: int = 0
    undecodable: int = 0
    not_finite: bool = False

    def note_undecodable(self) -> None:
        self.undecodable += 1


class AudioSource:
    """The first audio stream of a file, read as often as needed with bounded memory.

    Opening decodes the file once, so that its length is exact and damage is known beforehand.

    Args:
        path: a sound file, or a video whose sound is meant.

    Attributes:
        rate: samples per second.
        channels: number of channels.
        layout: name of the channel layout.
        codec: name of the codec.
        sample_format: FFmpeg's name of the decoded sample format.
        start_s: timestamp of the first sample, in seconds.

    Raises:
        MediaError: the file cannot be used, has no audio, or holds not one sample.
    """

    def __init__(self, path: str | Path) -> None:
        """Open and measure the file."""
        self.path = Path(path)
        with open_media(self.path) as container:
            self.codec: str = first_stream(container, "audio", self.path).codec_context.codec.canonical_name
        self._tally = _Tally()
        first = next(self._decode(_Tally()), None)
        if first is None:
            raise MediaError(
                about=self.path,
                expected="speech",
                got="audio of zero length",
                advice="Choose a file with sound in it",
            )
        self.rate: int = first.sample_rate
        self.channels: int = first.layout.nb_channels
        self.layout: str = first.layout.name
        self.sample_format: str = first.format.name
        if not PLAUSIBLE_RATES[0] <= self.rate <= PLAUSIBLE_RATES[1]:
            raise MediaError(
                about=self.path,
                expected=f"audio of {PLAUSIBLE_RATES[0]} to {PLAUSIBLE_RATES[1]} Hz",
                got=f"{self.rate} Hz",
                advice="The file is damaged; copy or export it again",
            )
        for _ in self._decode(self._tally):
            pass
        self.start_s = self._tally.first_pts_s or 0.0

    @property
    def duration(self) -> float:
        """Seconds, exact."""
        return self._tally.samples / self.rate

    @property
    def is_clean(self) -> bool:
        """Whether the stored packets play exactly what `frames` yields, so that they may be copied."""
        tally = self._tally
        return not (tally.gaps or tally.overlaps or tally.undecodable or tally.not_finite)

    @property
    def warnings(self) -> list[str]:
        """What the user should know about the file."""
        tally = self._tally
        found = {
            "samples that are no numbers (NaN or infinite) were replaced by silence": tally.not_finite,
            f"{tally.gaps} holes were filled with silence": tally.gaps,
            f"{tally.overlaps} overlapping pieces were played one after the other": tally.overlaps,
            f"{tally.undecodable} damaged packets could not be decoded and were skipped": tally.undecodable,
        }
        return [f"{self.path.name}: {message}" for message, count in found.items() if count]

    def frames(self) -> Generator[AudioFrame, None, None]:
        """Yield the samples as decoded: own rate, channels and sample format, holes filled, no NaN."""
        return self._decode(_Tally())

    def speech_blocks(self, block: int = SPEECH_BLOCK) -> Iterator[np.ndarray]:
        """Yield the speech for the models, block by block.

        Args:
            block: samples per block; the last one may be shorter.

        Returns:
            float32 mono [S] at 16 kHz, the average of all channels, about -1 to 1.
        """
        pieces: list[np.ndarray] = []
        waiting = 0
        for piece in self._resampled():
            pieces.append(piece)
            waiting += len(piece)
            while waiting >= block:
                joined = np.concatenate(pieces)
                yield joined[:block]
                pieces, waiting = [joined[block:]], waiting - block
        if waiting:
            yield np.concatenate(pieces)

    def _decode(self, tally: _Tally) -> Generator[AudioFrame, None, None]:
        with open_media(self.path) as container:
            for frame in _decode_packets(container, first_stream(container, "audio", self.path), tally):
                gap = _gap(frame, tally)
                if gap:
                    yield from _silence(frame, gap)
                yield _without_nan(frame, tally)
                tally.samples += gap + frame.samples

    def _resampled(self) -> Iterator[np.ndarray]:
        resampler = AudioResampler("flt", "mono", SPEECH_RATE)
        for frame in self._decode(_Tally()):
            mono = AudioFrame.from_ndarray(_mono(frame)[None], "flt", "mono")
            mono.sample_rate = frame.sample_rate
            yield from (_samples(piece) for piece in resampler.resample(mono))
        # without anything to convert a resampler ends with [None]
        yield from (_samples(piece) for piece in resampler.resample(None) if piece is not None)


class SpeechWindows:
    """Cuts windows out of the speech, in order of their start, keeping no more than a window in memory.

    Args:
        source: the speech.
    """

    def __init__(self, source: AudioSource) -> None:
        """Start at the beginning of the speech."""
        self._blocks = source.speech_blocks()
        self._kept = np.zeros(0, np.float32)
        self._kept_start = 0  # sample number of the first one kept

    def window(self, start: int, end: int) -> np.ndarray:
        """Return the samples start..end-1 at 16 kHz, float32 [end - start], zeros where there is no speech.

        Raises:
            ValueError: the window is empty, or starts before an earlier window did.
        """
        if end <= start or max(start, 0) < self._kept_start:
            raise ValueError(
                f"window: expected a start from {self._kept_start} on and an end after it, "
                f"got {start}, {end}. Ask in order of the starts"
            )
        self._forget_before(max(start, 0))
        self._read_until(end)
        window = np.zeros(end - start, np.float32)
        samples = self._kept[: max(0, end - self._kept_start)]
        offset = self._kept_start - start
        window[offset : offset + len(samples)] = samples[: max(0, len(window) - offset)]
        return window

    def _forget_before(self, start: int) -> None:
        while self._kept_start + len(self._kept) < start:
            self._kept_start += len(self._kept)
            block = next(self._blocks, None)
            if block is None:
                self._kept = np.zeros(0, np.float32)
                self._kept_start = start
                return
            self._kept = block
        self._kept = self._kept[start - self._kept_start :]
        self._kept_start = start

    def _read_until(self, end: int) -> None:
        blocks = [self._kept]
        stop = self._kept_start + len(self._kept)
        while stop < end and (block := next(self._blocks, None)) is not None:
            blocks.append(block)
            stop += len(block)
        if len(blocks) > 1:
            self._kept = np.concatenate(blocks)


class _Evener:
    """Brings every frame to the first one's sample format, channels and rate; damaged files change them on the way."""

    def __init__(self) -> None:
        self._wanted: _Parameters | None = None
        self._given: _Parameters | None = None
        self._resampler = AudioResampler()

    def even(self, frame: AudioFrame) -> list[AudioFrame]:
        given = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._wanted is None:
            self._wanted = (_readable(frame), *given[1:])
        if given == self._wanted:
            return [frame]
        if given != self._given:
            self._resampler, self._given = AudioResampler(*self._wanted), given
        return self._resampler.resample(frame)


def _readable(frame: AudioFrame) -> str:
    """Choose a sample format that numpy can read; PyAV reads beyond the planes of more than eight channels."""
    name = frame.format.name
    kind = name.removesuffix("p")
    if kind not in FULL_SCALE:
        return "dbl"
    return kind if frame.layout.nb_channels > MOST_PLANES else name


def _decode_packets(
    container: av.container.InputContainer, stream: av.AudioStream, tally: _Tally
) -> Iterator[AudioFrame]:
    evener = _Evener()
    for packet in read_packets(container, stream, tally.note_undecodable):
        try:
            frames = [even for frame in packet.decode() if frame.samples for even in evener.even(frame)]
        except (av.FFmpegError, ValueError):
            tally.note_undecodable()
            continue
        yield from frames


def _gap(frame: AudioFrame, tally: _Tally) -> int:
    """Return how many samples are missing before a frame."""
    if frame.pts is None or frame.time_base is None:
        return 0
    time_s = float(frame.pts * frame.time_base)
    if tally.first_pts_s is None:
        tally.first_pts_s = time_s
    missing_s = time_s - tally.first_pts_s - tally.samples / frame.sample_rate
    if SMALLEST_GAP_S <= missing_s <= LONGEST_GAP_S:
        tally.gaps += 1
        return round(missing_s * frame.sample_rate)
    if abs(missing_s) >= SMALLEST_GAP_S:
        tally.overlaps += 1
        tally.first_pts_s += missing_s  # take the new timestamps for good from here on
    return 0


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


def _without_nan(frame: AudioFrame, tally: _Tally) -> AudioFrame:
    if frame.format.name.rstrip("p") not in ("flt", "dbl"):
        return frame
    samples = frame.to_ndarray().copy()
    finite = np.isfinite(samples)
    if finite.all():
        return frame
    tally.not_finite = True
    samples[~finite] = 0
    replaced = AudioFrame.from_ndarray(samples, frame.format.name, frame.layout.name)
    replaced.sample_rate, replaced.pts, replaced.time_base = frame.sample_rate, frame.pts, frame.time_base
    return replaced


def _mono(frame: AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    kind = frame.format.name.removesuffix("p")
    offset = FULL_SCALE["u8"] if kind == "u8" else 0.0
    return ((samples.mean(axis=0, dtype=np.float64) - offset) / FULL_SCALE[kind]).astype(np.float32)


def _samples(frame: AudioFrame) -> np.ndarray:
    return frame.to_ndarray().reshape(-1)
