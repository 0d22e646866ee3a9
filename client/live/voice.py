"""The speech of a session on its timeline: it grows as it arrives, and its past is let go of. Knows no server."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

NAME = Path("voice")  # what messages call it
SILENCE_S = 0.02  # of silence added at once
ROUNDING = 1e-6  # samples: times within it are the same, though they were computed differently


class Track:
    """Samples at one rate, of which the first ones are let go of; adding some takes no longer where many are held."""

    def __init__(self, first: int = 0) -> None:
        """Start at a sample."""
        self._start = first
        self._room = np.zeros(0, np.float32)
        self._held = 0

    @property
    def end(self) -> int:
        """Number of the sample after the last one."""
        return self._start + self._held

    @property
    def held(self) -> int:
        """How many samples are held."""
        return self._held

    def append(self, samples: np.ndarray) -> None:
        """Add samples, float32 [S]."""
        held = self._held + len(samples)
        if held > len(self._room):
            self._make_room(0, max(held, 2 * self._held))
        self._room[self._held : held] = samples
        self._held = held

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return samples start..stop-1, float32; zeros where there are none."""
        found = np.zeros(max(0, stop - start), np.float32)
        first, last = max(start, self._start), min(stop, self.end)
        if first < last:
            found[first - start : last - start] = self._room[first - self._start : last - self._start]
        return found

    def cut(self, end: int) -> None:
        """Drop the samples from a number on."""
        self._held = min(self._held, max(0, end - self._start))

    def forget(self, before: int) -> None:
        """Let go of the samples before a number."""
        gone = min(max(0, before - self._start), self._held)
        self._make_room(gone, self._held - gone)
        self._start += gone
        self._held -= gone

    def _make_room(self, gone: int, size: int) -> None:
        room = np.zeros(size, np.float32)
        room[: self._held - gone] = self._room[gone : self._held]
        self._room = room


class GrowingVoice:
    """Speech that is still being spoken: a `SpeechSource`, and the sound that is shown with the pictures.

    Attributes:
        path: what messages call it.
        rate: samples per second of the sound.
    """

    def __init__(self, rate: int) -> None:
        """Start without a sample."""
        self.path = NAME
        self.rate = rate
        self._guard = threading.RLock()
        self._sound = Track()
        self._speech = Track()  # at 16 kHz
        self._resampler = self._new_resampler()
        self._is_finished = False

    @property
    def duration(self) -> float:
        """Its length so far, in seconds."""
        return self._sound.end / self.rate

    @property
    def speech_length(self) -> int:
        """Number of samples at 16 kHz so far."""
        return self._speech.end

    @property
    def held_s(self) -> float:
        """How much of it is in memory, in seconds."""
        return self._sound.held / self.rate

    def window(self, start: int, stop: int) -> np.ndarray:
        """Return samples start..stop-1, float32 mono [stop - start] at 16 kHz; zeros outside what is held."""
        with self._guard:
            return self._speech.read(start, stop)

    def speech_blocks(self, block: int = AUDIO_SAMPLE_RATE) -> Iterator[np.ndarray]:
        """Yield what is there so far, block by block."""
        end = self.speech_length
        for start in range(0, end, block):
            yield self.window(start, min(start + block, end))

    def sound(self, start_s: float, end_s: float) -> np.ndarray:
        """Return the sound of a part of the timeline, float32 mono at `rate`; zeros outside what is held."""
        with self._guard:
            return self._sound.read(self._sample_at(start_s), self._sample_at(end_s))

    def append(self, samples: np.ndarray) -> None:
        """Add samples, float32 mono [S] at `rate`."""
        with self._guard:
            self._sound.append(samples)
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32)[None], "flt", "mono")
            frame.sample_rate = self.rate
            self._take(self._resampler.resample(frame))

    def finish(self) -> None:
        """Take what the resampler still holds back; nothing but silence may follow."""
        with self._guard:
            if not self._is_finished:
                self._is_finished = True
                self._take([piece for piece in self._resampler.resample(None) if piece is not None])

    def be_silent_until(self, speech_length: int) -> None:
        """Add silence until there are so many samples at 16 kHz."""
        with self._guard:
            while self._speech.end < speech_length:
                if self._is_finished:
                    self._speech.append(np.zeros(speech_length - self._speech.end, np.float32))
                    return
                missing = (speech_length - self._speech.end) * self.rate // AUDIO_SAMPLE_RATE
                self.append(np.zeros(max(missing, round(SILENCE_S * self.rate)), np.float32))

    def cut(self, time_s: float) -> None:
        """Drop what comes after a time, in seconds; what follows is added there."""
        with self._guard:
            self._sound.cut(self._sample_at(time_s))
            self._speech.cut(round(time_s * AUDIO_SAMPLE_RATE))
            self._resampler = self._new_resampler()
            self._is_finished = False

    def forget(self, before_s: float) -> None:
        """Let go of what comes before a time, in seconds."""
        with self._guard:
            self._sound.forget(round(before_s * self.rate))
            self._speech.forget(round(before_s * AUDIO_SAMPLE_RATE))

    def _sample_at(self, time_s: float) -> int:
        """Return the first sample from a time on: one number for a frame's end and the next one's beginning."""
        return math.floor(time_s * self.rate + 0.5 + ROUNDING)

    def _new_resampler(self) -> AudioResampler:
        return AudioResampler("flt", "mono", AUDIO_SAMPLE_RATE)

    def _take(self, pieces: list[AudioFrame]) -> None:
        for piece in pieces:
            self._speech.append(piece.to_ndarray().reshape(-1))
