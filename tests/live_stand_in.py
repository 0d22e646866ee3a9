"""A live stream without a server: pictures at a quick pace, each with the voice of its time."""

from __future__ import annotations

import threading
import time

import numpy as np

from client.errors import LipSyncError
from client.live.stream import LivePicture, StreamFacts

FPS, RATE, SIDE = 25, 24_000, 16
PICTURE = RATE // FPS  # samples
QUICK_S = 0.004  # in place of 0.04


class StandInStream:
    """Does what `LiveSession` does, as far as adapters ask."""

    def __init__(self, delay: int = 3) -> None:
        """Show voice so many pictures after it came."""
        self.facts = StreamFacts(SIDE, SIDE, FPS, RATE, 0.25, False, False)
        self.sent_s = self.shown_s = 0.0
        self.unread = 0
        self.most_ahead_s = 0.0
        self.is_closed = False
        self.failure: LipSyncError | None = None
        self._delay = delay
        self._number = 0
        self._voice: list[tuple[int, np.ndarray]] = []  # with the first picture that may show it
        self._guard = threading.Lock()

    def send(self, pcm: np.ndarray) -> None:
        """Take voice."""
        with self._guard:
            self.sent_s += len(pcm) / RATE
            self.most_ahead_s = max(self.most_ahead_s, self.sent_s - self.shown_s)
            self._voice.append((self._number + self._delay, pcm))

    def interrupt(self) -> None:
        """Drop the voice that is not shown."""
        with self._guard:
            self._voice.clear()
            self.shown_s = self.sent_s

    def close(self) -> None:
        """End."""
        self.is_closed = True

    def next_picture(self) -> LivePicture | None:
        """Return a picture with what is there of the voice."""
        time.sleep(QUICK_S)
        if self.failure is not None:
            raise self.failure
        if self.is_closed:
            return None
        with self._guard:
            self._number += 1
            ready = [pcm for first, pcm in self._voice if first <= self._number]
            late = [(first, pcm) for first, pcm in self._voice if first > self._number]
            voice = np.concatenate([np.zeros(0, np.float32), *ready])
            sound, rest = voice[:PICTURE], voice[PICTURE:]
            self._voice = ([(0, rest)] if len(rest) else []) + late
            self.shown_s += len(sound) / RATE
            padded = np.pad(sound, (0, PICTURE - len(sound)))
        rgb = np.full((SIDE, SIDE, 3), self._number % 256, np.uint8)
        return LivePicture(self._number, self._number / FPS, 1 / FPS, rgb, padded, sound.any(), False, 0.0, 0)


def voice(seconds: float, level: int = 1000) -> np.ndarray:
    """Return a voice without zeros, int16 [S], that tells each of its samples from the others."""
    return (level + np.arange(round(seconds * RATE)) % 997).astype(np.int16)
