"""The voice of a stream as it is sent: checked, limited, and put on the timeline. Its caller guards it."""

from __future__ import annotations

import numpy as np

from client.errors import UsageError
from client.live.settings import StreamLimits, StreamSettings
from client.live.voice import GrowingVoice
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

SAME_TIME_S = 1e-4  # the last sample may end so much after a frame begins without getting a frame of its own


class IncomingVoice:
    """Takes the pieces of a voice, and fills with silence what comes too late.

    Attributes:
        voice: what was taken, on the stream's timeline.
        taken_s: how much was sent, in seconds; what does not wait was shown or dropped.
    """

    def __init__(self, settings: StreamSettings, limits: StreamLimits) -> None:
        """Start without a sample."""
        self.voice = GrowingVoice(settings.rate)
        self.taken_s = 0.0
        self._limits = limits
        self._is_paced = settings.pace == "real_time"
        self._early: list[np.ndarray] | None = []  # pieces that came before the timeline began; None once it has
        self._ends_s = 0.0  # where the voice ends
        self._silence_ends_s = 0.0  # where silence that was added ends
        self._is_ending = False

    def waiting_s(self, shown_until_s: float) -> float:
        """Return how much is not shown yet, in seconds."""
        early_s = sum(map(len, self._early or ())) / self.voice.rate
        return max(0.0, self._ends_s - shown_until_s) + early_s

    def is_over(self, time_s: float) -> bool:
        """Return whether the voice has come to its end before a frame."""
        return self._is_ending and time_s >= self._ends_s - SAME_TIME_S

    def is_known(self, speech_length: int) -> bool:
        """Return whether so many samples at 16 kHz are there, or none will follow."""
        return self._is_ending or self.voice.speech_length >= speech_length

    def add(self, samples: np.ndarray, rate: int, shown_until_s: float, heard_until_s: float) -> None:
        """Add a piece.

        Args:
            samples: float32 mono [S], -1 to 1; at least one.
            rate: samples per second.
            shown_until_s: where the last picture that was shown ends, in seconds.
            heard_until_s: up to where frames were drawn or will be at once; a voice that begins comes after it.

        Raises:
            UsageError: there is no sample, the rate is not the stream's, a sample is no number, too much voice waits,
                or the voice was ended.
        """
        length_s = len(samples) / max(rate, 1)
        self.taken_s += length_s  # also if it is refused, and so dropped
        self._check(samples, rate)
        waiting_s = self.waiting_s(shown_until_s) + length_s
        if waiting_s > self._limits.max_voice_s:
            raise UsageError(
                about="voice",
                expected=f"at most {self._limits.max_voice_s:g} s that wait to be shown",
                got=f"{waiting_s:.1f} s",
                advice="Send it as it is shown; this piece was dropped",
            )
        if self._early is None:
            self._append(samples, heard_until_s)
        else:
            self._early.append(samples)

    def begin(self, heard_until_s: float) -> None:
        """Put what came before the timeline began on it."""
        early, self._early = self._early or [], None
        for samples in early:
            self._append(samples, heard_until_s)
        if self._is_ending:
            self.voice.finish()

    def fill(self, speech_length: int) -> None:
        """Add silence until there are so many samples at 16 kHz."""
        if self.voice.speech_length < speech_length:
            self.voice.be_silent_until(speech_length)
            self._silence_ends_s = self.voice.duration

    def cut(self, time_s: float) -> None:
        """Drop what comes after a time, in seconds."""
        if self._early is not None:
            self._early.clear()
            return
        self.voice.cut(time_s)
        self._ends_s = self._silence_ends_s = self.voice.duration

    def end(self) -> None:
        """Take no further piece; safe to call again."""
        self._is_ending = True
        if self._early is None:
            self.voice.finish()

    def _append(self, samples: np.ndarray, heard_until_s: float) -> None:
        """Add voice; one that begins is put where its pieces can still arrive before their frames are drawn."""
        if self._is_paced and self.voice.duration <= self._silence_ends_s:
            start_s = max(self.voice.duration, heard_until_s) + self._limits.jitter_s
            self.fill(round(start_s * AUDIO_SAMPLE_RATE))
        self.voice.append(samples)
        self._ends_s = self.voice.duration

    def _check(self, samples: np.ndarray, rate: int) -> None:
        if rate != self.voice.rate:
            raise UsageError(
                about="rate",
                expected=f"{self.voice.rate} Hz, as the stream was opened",
                got=f"{rate} Hz",
                advice="Open the stream with the voice's rate",
            )
        if not len(samples):
            raise UsageError(about="voice", expected="at least one sample", got="none")
        if not np.isfinite(samples).all():
            raise UsageError(about="voice", expected="finite samples", got="NaN or infinity")
        if self._is_ending:
            raise UsageError(about="voice", expected="a stream that goes on", got="one that was ended")
