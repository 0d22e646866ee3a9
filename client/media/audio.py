"""The audio that mouths follow: decoded once, kept on disk, and read anywhere as 16 kHz mono or as decoded."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from client.errors import MediaError, OutputError
from client.media.audio_reader import AudioDamage, AudioReader
from client.media.containers import choose_container
from client.media.mono import MonoMixer, channel_columns
from client.media.spool import SampleSpool
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

BLOCK_SAMPLES = AUDIO_SAMPLE_RATE  # per block of speech, one second
FRAME_SAMPLES = 1024  # per frame that is read back
PLAUSIBLE_RATES = (1_000, 768_000)  # Hz


class ReadsAudio(Protocol):
    """What an `AudioSource` is read from: `AudioReader`, or whatever computes samples; see there for the attributes."""

    codec: str
    sample_count: int
    start_s: float
    damage: AudioDamage

    def frames(self) -> Generator[AudioFrame, None, None]:
        """Yield all samples, in one sample format that numpy can view."""


class SpeechSource(Protocol):
    """Speech for the models, whether all of it is known or it is still being spoken: see `AudioSource`.

    Attributes:
        path: what messages call it.
    """

    path: Path

    @property
    def duration(self) -> float:
        """Its length so far, in seconds."""

    @property
    def speech_length(self) -> int:
        """Number of samples at 16 kHz so far."""

    def window(self, start: int, stop: int) -> np.ndarray:
        """Return samples start..stop-1, float32 mono [stop - start] at 16 kHz; zeros outside the audio."""

    def speech_blocks(self, block: int = ...) -> Iterator[np.ndarray]:
        """Yield all samples, block by block."""


class AudioSource:
    """The audio of a file: see `choose_stream`.

    Opening decodes the file once, from its beginning to its end, so that its length is exact and damage is known
    beforehand. What later steps need is kept in temporary files: 16 kHz mono (230 MB per hour) and, for an output
    whose audio track has to be encoded, the samples as decoded. Memory does not grow with the audio.

    Args:
        path: an audio file, or a video whose audio is meant.
        output: the file whose audio track will be made from it; None if there will be none.
        delay_s: seconds of silence before it, as where a video's sound starts later than its picture.
        open_reader: opens what computes the samples, delay included, if they are not those of the file, which then is
            named in messages alone. They are never copied from it.

    Attributes:
        rate: samples per second.
        channels: number of channels.
        layout: FFmpeg's name of the channel layout.
        codec: FFmpeg's name of the codec.
        sample_format: FFmpeg's name of the decoded sample format.
        start_s: timestamp of the first sample in the file, in seconds.
        delay_s: seconds of silence before the first sample.
        duration: length in seconds with that silence, exact.

    Raises:
        MediaError: the file cannot be used, has no audio, or contains no sample.
        OutputError: there is no room for the temporary file.
        UsageError: the output's extension names no container.
    """

    def __init__(
        self,
        path: str | Path,
        output: Path | None = None,
        delay_s: float = 0.0,
        open_reader: Callable[[], ReadsAudio] | None = None,
    ) -> None:
        """Decode the file."""
        self.path = Path(path)
        self.delay_s = delay_s
        self._open_computed = open_reader
        self._ahead = 0  # samples at 16 kHz
        self._decoded: SampleSpool | None = None
        self._speech = _speech_spool()
        try:
            self._decode(self._reader(), output)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AudioSource:
        """Return the source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary files."""
        self.close()

    def close(self) -> None:
        """Remove the temporary files; safe to call again. They are also removed with the object."""
        self._speech.close()
        if self._decoded is not None:
            self._decoded.close()

    @property
    def is_clean(self) -> bool:
        """Whether the stored packets play exactly what `frames` yields, so that they may be copied."""
        return self._damage.is_none and self._open_computed is None

    @property
    def warnings(self) -> list[str]:
        """What the user should know about the file."""
        return [f"{self.path.name}: {line}" for line in (*self._damage.warnings(), *self._notes)]

    @property
    def speech_length(self) -> int:
        """Number of samples at 16 kHz."""
        return max(0, len(self._speech) - self._ahead)

    def window(self, start: int, stop: int) -> np.ndarray:
        """Read any part of the audio for the models.

        Args:
            start: first sample at 16 kHz; may lie before the audio.
            stop: sample after the last one; may lie behind it.

        Returns:
            float32 mono [stop - start] at 16 kHz, the average of all channels (the loudest one if they cancel each
            other out), about -1 to 1; zeros outside the audio.

        Raises:
            ValueError: the window is empty.
        """
        if stop <= start:
            raise ValueError(f"window: expected an end after the start, got {start}, {stop}")
        start, stop = start + self._ahead, stop + self._ahead
        window = np.zeros(stop - start, np.float32)
        first, last = max(start, 0), min(stop, len(self._speech))
        if first < last:
            window[first - start : last - start] = self._speech.read(first, last)[:, 0]
        return window

    def speech_blocks(self, block: int = BLOCK_SAMPLES) -> Iterator[np.ndarray]:
        """Yield the audio for the models, block by block.

        Args:
            block: samples per block; the last one may be shorter.

        Returns:
            Blocks like those of `window`.
        """
        for start in range(0, self.speech_length, block):
            yield self.window(start, min(start + block, self.speech_length))

    def frames(self) -> Generator[AudioFrame, None, None]:
        """Yield the samples as decoded: own rate, channels and sample format, holes filled, no NaN.

        They come from the temporary file if the output given to the constructor needs them; else the file is decoded
        again. That is the case for packets that could have been copied but are damaged or refused by the muxer.
        """
        if self._decoded is None:
            return self._reader().frames()
        return self._stored_frames(self._decoded)

    def ahead(self, seconds: float) -> AudioSource:
        """Return the same audio as if it began earlier by some seconds, later if negative, as models are to hear it."""
        moved = copy.copy(self)
        moved._ahead = self._ahead + round(seconds * AUDIO_SAMPLE_RATE)
        moved.duration = max(0.0, self.duration - seconds)
        return moved

    def _reader(self) -> ReadsAudio:
        return AudioReader(self.path, self.delay_s) if self._open_computed is None else self._open_computed()

    def _needs_samples(self, output: Path) -> bool:
        """Return whether an output's track is encoded from the samples."""
        container = choose_container(output)
        return self._open_computed is not None or self.codec not in container.audio_codecs

    def _decode(self, reader: ReadsAudio, output: Path | None) -> None:
        with closing(reader.frames()) as frames:
            first = next(frames, None)
            if first is None:
                raise MediaError(
                    about=self.path,
                    expected="speech",
                    got="audio of zero length",
                    advice="Choose a file with audio in it",
                )
            self._describe(first, reader)
            if output is not None and self._needs_samples(output):
                self._decoded = _spool_like(first)
            mixer = MonoMixer()
            self._store_mono(self._stored(chain([first], frames)), mixer)
        self._notes = list(self._describe_mix(mixer))
        self._damage = reader.damage
        self.start_s = reader.start_s
        self.duration: float = reader.sample_count / self.rate

    def _describe_mix(self, mixer: MonoMixer) -> Iterator[str]:
        """Yield what the user should know about the mix; replaces the speech if its channels cancel each other out."""
        channel = mixer.loudest_if_cancelled
        if mixer.is_silent:
            yield "it is silent, or nearly so, and the mouth will hardly move"
        elif channel is not None:
            self._store_channel(channel)
            yield f"its channels cancel each other out; the lips follow channel {channel + 1} alone"

    def _store_channel(self, channel: int) -> None:
        self._speech.close()
        self._speech = _speech_spool()
        with closing(self.frames()) as frames:
            self._store_mono(frames, MonoMixer(channel))

    def _describe(self, first: AudioFrame, reader: ReadsAudio) -> None:
        self.rate: int = first.sample_rate
        self.channels: int = first.layout.nb_channels
        self.layout: str = first.layout.name
        self.codec: str = reader.codec
        self.sample_format: str = first.format.name
        if not PLAUSIBLE_RATES[0] <= self.rate <= PLAUSIBLE_RATES[1]:
            raise MediaError(
                about=self.path,
                expected=f"audio of {PLAUSIBLE_RATES[0]} to {PLAUSIBLE_RATES[1]} Hz",
                got=f"{self.rate} Hz",
                advice="The file is damaged; copy or export it again",
            )

    def _stored(self, frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
        """Pass frames on, once they are stored as decoded where that is needed."""
        for frame in frames:
            self._store_decoded(frame)
            yield frame

    def _store_mono(self, frames: Iterator[AudioFrame], mixer: MonoMixer) -> None:
        resampler = AudioResampler("flt", "mono", AUDIO_SAMPLE_RATE)
        for frame in frames:
            mono = AudioFrame.from_ndarray(mixer.mix(frame)[None], "flt", "mono")
            mono.sample_rate = frame.sample_rate
            self._store_speech(resampler.resample(mono))
        self._store_speech([piece for piece in resampler.resample(None) if piece is not None])  # [None] if unused

    def _store_speech(self, pieces: list[AudioFrame]) -> None:
        try:
            for piece in pieces:
                self._speech.append(piece.to_ndarray().reshape(-1, 1))
        except OSError as error:
            raise _no_room(error) from error

    def _store_decoded(self, frame: AudioFrame) -> None:
        if self._decoded is None:
            return
        try:
            self._decoded.append(_rows(frame))
        except OSError:  # no room for these: `frames` decodes the file again
            self._decoded.close()
            self._decoded = None

    def _stored_frames(self, decoded: SampleSpool) -> Generator[AudioFrame, None, None]:
        is_planar = self.sample_format.endswith("p")
        for start in range(0, len(decoded), FRAME_SAMPLES):
            rows = decoded.read(start, start + FRAME_SAMPLES)
            samples = np.ascontiguousarray(rows.T) if is_planar else rows.reshape(1, -1)
            frame = AudioFrame.from_ndarray(samples, self.sample_format, self.layout)
            frame.sample_rate = self.rate
            yield frame


def _speech_spool() -> SampleSpool:
    try:
        return SampleSpool(np.dtype(np.float32))
    except OSError as error:
        raise _no_room(error) from error


def _spool_like(frame: AudioFrame) -> SampleSpool | None:
    try:
        return SampleSpool(frame.to_ndarray().dtype, frame.layout.nb_channels)
    except OSError:
        return None


def _rows(frame: AudioFrame) -> np.ndarray:
    """View a frame's samples as [S, channels]."""
    return channel_columns(frame).T


def _no_room(error: OSError) -> OutputError:
    return OutputError(
        f"no room for the decoded audio: {error.strerror or error}",
        about=tempfile.tempdir or "temporary folder",
        advice="Free some space there, or set TMPDIR to another folder",
    )
