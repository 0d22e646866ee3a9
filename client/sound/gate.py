"""When a sound is heard: spans with short linear fades at their ends, exact to the sample. Reads no sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.scene.scene import TimeSpan
from client.scene.spans import joined

FADE_S = 0.02  # of voices and of the video's own sound, centred on the ends of spans
FAR = 1 << 48  # samples; beyond any sound


class Gate:
    """A gain over time: 1 in spans, 0 outside, and a linear fade around each end; where spans meet it stays 1.

    The gates of spans that fill the timeline together sum to 1 at each sample, so that these fades are cross-fades.
    There is no fade at the timeline's beginning.

    Args:
        spans: when the sound is heard, in seconds.
        rate: samples per second.
        fade_s: length of the fades, in seconds.
    """

    def __init__(self, spans: Sequence[TimeSpan], rate: int, fade_s: float = FADE_S) -> None:
        """Put the spans on the grid of samples."""
        union = joined(spans)
        self._half = max(1, round(fade_s * rate / 2))
        self._starts = np.array([_sample(span.start_s, rate) for span in union], np.int64)
        self._ends = np.array([_sample(span.end_s, rate) for span in union], np.int64)
        self._before = np.concatenate([[0], np.cumsum(self._ends - self._starts)])

    def gain(self, start: int, stop: int) -> float | np.ndarray:
        """Return the gain of samples start..stop-1: exactly 1.0 or 0.0 if it is that throughout, else float32 [S]."""
        first, last = start - self._half, stop - 1 + self._half
        inside = self._covered(np.array([first, last]))
        heard = int(inside[1] - inside[0])
        if heard in (0, last - first):
            return float(heard > 0)
        samples = np.arange(start, stop)
        heard_around = self._covered(samples + self._half) - self._covered(samples - self._half)
        return (heard_around / (2 * self._half)).astype(np.float32)

    def _covered(self, samples: np.ndarray) -> np.ndarray:
        """Return how many samples of the spans lie before each of these."""
        if not len(self._starts):
            return np.zeros_like(samples)
        begun = np.searchsorted(self._starts, samples, "right")
        missing = np.maximum(0, self._ends[begun - 1] - samples)
        return self._before[begun] - np.where(begun > 0, missing, 0)


def _sample(time_s: float, rate: int) -> int:
    if time_s <= 0:
        return -FAR
    return round(min(time_s * rate, FAR))
