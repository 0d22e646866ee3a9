"""The frames of a stream between drawing and showing, in their order. Its caller guards it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from client.lanes.stage import DrawnFrame


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame on its way to the client.

    Attributes:
        number: counts the frames of the stream, those that are left out included.
        time_s: when it is shown on the stream's timeline, in seconds.
        duration_s: for how long, in seconds.
        rgb: uint8 RGB [H, W, 3]; None if the last picture stays, as this one could not be drawn in time.
        sound: float32 mono [S], the voice of this time at the stream's rate.
        speaks: whether the mouth follows the voice.
        waiting_s: voice that waits to be shown, in seconds.
        taken_s: voice that was taken so far, in seconds; what does not wait was shown or dropped.
        left_out: pictures that were left out before it, as the client did not read.
    """

    number: int
    time_s: float
    duration_s: float
    rgb: np.ndarray | None
    sound: np.ndarray
    speaks: bool
    waiting_s: float = 0.0
    taken_s: float = 0.0
    left_out: int = 0


class FrameQueue:
    """Frames that wait to be shown, and those that are to be drawn again after an interruption.

    Attributes:
        count: number of frames that were drawn.
        drawn_until_s: where the last of them ends, in seconds.
    """

    def __init__(self, frames: Sequence[DrawnFrame] = ()) -> None:
        """Start with frames that are not drawn yet."""
        self._again = list(frames)
        self._ready: deque[tuple[DrawnFrame, Shown]] = deque()  # each as it was before it was drawn
        self.count = 0
        self.drawn_until_s = 0.0

    def __len__(self) -> int:
        """Return how many wait to be shown."""
        return len(self._ready)

    @property
    def next(self) -> Shown:
        """The next one to be shown; there must be one."""
        return self._ready[0][1]

    def take(self) -> Shown:
        """Return the next one to be shown, and forget it."""
        return self._ready.popleft()[1]

    def again(self, most: int) -> list[DrawnFrame]:
        """Return frames that are to be drawn again, and forget them."""
        frames, self._again = self._again[:most], self._again[most:]
        return frames

    def put_back(self, frames: Sequence[DrawnFrame]) -> None:
        """Let frames be drawn again, in their order."""
        self._again = sorted([*self._again, *frames], key=lambda frame: frame.shown.time_s)

    def add(self, drawn: Sequence[tuple[DrawnFrame, Shown]]) -> None:
        """Add frames that were drawn."""
        self._ready += drawn
        self.count += len(drawn)
        last = drawn[-1][1]
        self.drawn_until_s = last.time_s + last.duration_s

    def cut(self) -> float:
        """Let all frames that wait be drawn again; return where the first of them begins, in seconds."""
        if self._ready:
            self.drawn_until_s = self.next.time_s
            self.count -= len(self._ready)
            self.put_back([frame for frame, _ in self._ready])
            self._ready.clear()
        return self.drawn_until_s
