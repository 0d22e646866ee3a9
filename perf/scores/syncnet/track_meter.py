"""Measures a face track against its sound by SyncNet as the papers do, a block of windows at a time."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from client.syncnet.distances import BLOCK_WINDOWS
from client.syncnet.towers import Towers
from lipsync_core.syncnet.distances import EMBEDDING, MAX_SHIFT, pair_distances
from lipsync_core.syncnet.mfcc import WINDOW_FRAMES


class GivesWindows(Protocol):
    """The sound of a face track."""

    def windows(self, first: int, end: int) -> np.ndarray:
        """Return the windows first to end - 1, float32 [N, 13, 20]."""


class TrackMeter:
    """Takes the crops of a track one by one and computes its distances."""

    def __init__(self, towers: Towers, sound: GivesWindows, windows: int) -> None:
        """Prepare to measure `windows` windows."""
        self._towers = towers
        self._sound = sound
        self._windows = windows
        self._crops: list[np.ndarray] = []
        self._distances: list[np.ndarray] = []
        self._done = 0  # windows
        self._heard = 0  # windows
        self._sounds = np.zeros((MAX_SHIFT, EMBEDDING), np.float32)  # from window _done - MAX_SHIFT on

    def add(self, crop: np.ndarray) -> None:
        """Take the next crop, uint8 RGB [224, 224, 3]; crops beyond the last window are ignored."""
        if self._done < self._windows:
            self._crops.append(crop)
            waiting = len(self._crops) - WINDOW_FRAMES + 1
            if waiting == BLOCK_WINDOWS or self._done + waiting == self._windows:
                self._measure(waiting)

    def distances(self) -> np.ndarray:
        """Return the distances of all windows, float32 [N, 31]; see `pair_distances`."""
        return np.concatenate(self._distances)

    def _measure(self, count: int) -> None:
        lips = self._towers.embed_lips(np.stack(self._crops))
        self._listen(min(self._done + count + MAX_SHIFT, self._windows))
        missing = count + 2 * MAX_SHIFT - len(self._sounds)
        around = np.pad(self._sounds, ((0, max(0, missing)), (0, 0)))
        self._distances.append(pair_distances(lips, around[: count + 2 * MAX_SHIFT]))
        self._crops = self._crops[count:]
        self._sounds = self._sounds[count:]
        self._done += count

    def _listen(self, end: int) -> None:
        if end > self._heard:
            windows = self._sound.windows(self._heard, end)
            self._sounds = np.concatenate([self._sounds, self._towers.embed_sounds(windows)])
            self._heard = end
