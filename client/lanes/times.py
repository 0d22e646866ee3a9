"""When a lane is drawn: spans of the timeline, faded in and out where the speaker begins and stops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from client.scene.scene import TimeSpan
from client.scene.spans import between, common, joined
from lipsync_core.fade import eased
from lipsync_core.reasons import Reason

FADE_S = 0.12  # from the source's mouth to the generated one, inside the span: 3 frames at 25 per second


class LaneTimes:
    """The times at which a lane is drawn.

    Attributes:
        are_always: whether it is drawn at all times.
    """

    def __init__(
        self,
        own: Sequence[TimeSpan] | None = None,
        speaker: Sequence[TimeSpan] | None = None,
        unchanged: Sequence[TimeSpan] = (),
    ) -> None:
        """Take the spans.

        Args:
            own: the lane's spans, in order and without overlap; None for always.
            speaker: the spans of all lanes of its speaker, between which no mouth is faded; None if it has no other.
            unchanged: spans that are left alone, in order and without overlap.
        """
        drawn = between(unchanged)
        self.are_always = own is None and not unchanged
        self._unchanged = _Borders(unchanged)
        self._own = _Borders(drawn if own is None else common(own, drawn))
        self._speaker = self._own if speaker is None else _Borders(common(joined(speaker), drawn))

    def hold(self, time_s: float) -> bool:
        """Return whether the lane is drawn at a time, in seconds."""
        return bool(self._own.hold(np.array([time_s]))[0])

    def shares(self, times_s: np.ndarray) -> np.ndarray:
        """Return how much of the lane's mouth is shown, float32 [F], at float64 [F] seconds."""
        strengths = eased(self._speaker.distances(times_s) / FADE_S)
        return np.where(self._own.hold(times_s), strengths, 0).astype(np.float32)

    def reason_at(self, time_s: float) -> Reason | None:
        """Return why nothing is drawn at a time, whatever the picture shows; None if the lane is drawn."""
        if self.hold(time_s):
            return None
        return Reason.LEFT_ALONE if self._unchanged.hold(np.array([time_s]))[0] else Reason.NOT_SPEAKING


class _Borders:
    """Where spans start and end, in seconds; the beginning of the video is no border."""

    def __init__(self, spans: Sequence[TimeSpan]) -> None:
        self._starts = np.array([span.start_s or -math.inf for span in spans])
        self._ends = np.array([span.end_s for span in spans])

    def hold(self, times_s: np.ndarray) -> np.ndarray:
        """Return whether times lie in a span, bool [F]."""
        return self.distances(times_s) > 0

    def distances(self, times_s: np.ndarray) -> np.ndarray:
        """Return how far times are from the borders of the span that they lie in, float64 [F]; 0 outside spans."""
        if not len(self._starts):
            return np.zeros(len(times_s))
        place = np.maximum(np.searchsorted(self._starts, times_s, side="right") - 1, 0)
        inside = np.minimum(times_s - self._starts[place], self._ends[place] - times_s)
        return np.maximum(inside, 0)
