"""When somebody speaks, and how far the mouth follows, from probabilities of speech."""

import numpy as np
from numpy.typing import NDArray

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.fade import eased

WINDOW = 512  # samples of one probability
WINDOW_S = WINDOW / AUDIO_SAMPLE_RATE  # 32 ms
SPEECH_STARTS, SPEECH_ENDS = 0.5, 0.35  # speech begins at the first probability and ends below the second
FOUND_LATE_S = 0.13  # how late the beginning of speech is found at most, measured on loud speech after music
ENDS_LATE_S = WINDOW_S  # how much longer than its last window speech may last
PAUSE_S = 0.2  # shorter pauses belong to the speech around them, as mouths are not shut in them
FADE_S = 0.32  # from speech to silence: 8 frames at 25 per second
REACH_S = FOUND_LATE_S + max(PAUSE_S, FADE_S)  # how far speech is felt


class SpeechSpans:
    """The spans of speech in audio, found as its probabilities arrive; memory grows with the spans alone."""

    def __init__(self, first: int = 0) -> None:
        """Start before a window, as a rule the audio's first one."""
        self._starts: list[int] = []  # windows
        self._ends: list[int] = []
        self._count = first
        self._speaks = False

    @property
    def count(self) -> int:
        """Number of the next window to add."""
        return self._count

    @property
    def covered_s(self) -> float:
        """The audio's part whose probabilities are known, in seconds."""
        return self._count * WINDOW_S

    @property
    def spans_s(self) -> list[tuple[float, float]]:
        """Start and end of each span so far, in seconds."""
        return [(start * WINDOW_S, end * WINDOW_S) for start, end in zip(self._starts, self._ends, strict=True)]

    def add(self, speech_probs: NDArray[np.float32]) -> None:
        """Continue with the probabilities of the next windows, float32 [T]."""
        for prob in speech_probs.tolist():
            speaks = prob >= (SPEECH_ENDS if self._speaks else SPEECH_STARTS)
            if speaks and not self._speaks:
                self._starts.append(self._count)
                self._ends.append(self._count)
            self._count += 1
            if speaks:
                self._ends[-1] = self._count
            self._speaks = speaks

    def forget(self, before: int) -> None:
        """Drop spans that ended before a window; times near them are no longer asked for."""
        gone = sum(end < before for end in self._ends)
        del self._starts[:gone], self._ends[:gone]

    def weights(self, times_s: NDArray[np.float64], known: int | None = None) -> NDArray[np.float32]:
        """Return how far the mouth follows the sound: 1 in and near speech, 0 in silence, between while it fades.

        Args:
            times_s: float64 [F]; what follows within REACH_S should have been added, or speech fades in late.
            known: number of windows to judge by, as if the later ones had not been added; None for all.

        Returns:
            float32 [F].
        """
        windows = [(a, b) for a, b in zip(self._starts, self._ends, strict=True) if known is None or a < known]
        if not windows:
            return np.zeros(len(times_s), np.float32)
        starts = np.array([start for start, _ in windows]) * WINDOW_S - FOUND_LATE_S
        ends = np.minimum([end for _, end in windows], self._count if known is None else known) * WINDOW_S + ENDS_LATE_S
        following = np.searchsorted(starts, times_s, side="right")
        since = np.where(following > 0, times_s - ends[following - 1], np.inf)
        until = np.where(following < len(starts), starts[np.minimum(following, len(starts) - 1)] - times_s, np.inf)
        distance = np.where(since + until < PAUSE_S, 0, np.maximum(np.minimum(since, until), 0))
        weights: NDArray[np.float32] = (1 - eased(distance / FADE_S)).astype(np.float32)
        return weights
