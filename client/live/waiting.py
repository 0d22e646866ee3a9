"""Voice that waits for room on the server, so that whoever gives it need not wait. Belongs to one thread."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

AHEAD_S = 20.0  # of voice that waits on the server; more waits here


class TakesVoice(Protocol):
    """A `LiveSession`, as far as voice goes."""

    @property
    def sent_s(self) -> float:
        """How much voice was sent, in seconds."""

    @property
    def shown_s(self) -> float:
        """How much of it was shown or dropped, in seconds."""

    def send(self, pcm: np.ndarray) -> None:
        """Add voice."""

    def end(self) -> None:
        """Tell that no voice follows."""


class WaitingVoice:
    """Passes voice on to a stream as it is shown."""

    def __init__(self, live: TakesVoice) -> None:
        """Take an open stream."""
        self._live = live
        self._pieces: deque[np.ndarray] = deque()
        self._is_ending = False

    def add(self, pcm: np.ndarray) -> None:
        """Add a piece, mono samples [S], behind those that wait.

        Raises:
            LipSyncError: the stream failed or has ended.
        """
        self._pieces.append(pcm)
        self.pass_on()

    @property
    def samples(self) -> int:
        """How many samples wait."""
        return sum(map(len, self._pieces))

    def drop(self) -> None:
        """Forget what waits."""
        self._pieces.clear()

    def end(self) -> None:
        """End the stream after what waits.

        Raises:
            LipSyncError: the stream failed or has ended.
        """
        self._is_ending = True
        self.pass_on()

    def pass_on(self) -> None:
        """Send as much as there is room for; called whenever a picture was shown.

        Raises:
            LipSyncError: the stream failed or has ended.
        """
        while self._pieces and self._live.sent_s - self._live.shown_s < AHEAD_S:
            self._live.send(self._pieces.popleft())
        if self._is_ending and not self._pieces:
            self._is_ending = False
            self._live.end()
