"""Measures how far a face that is followed is from a sound, at each moment in which it is in view."""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable, Iterable

import numpy as np

from client.syncnet.cropper import HasRgb, TrackCropper
from client.syncnet.embedded_sound import EmbeddedSound
from client.syncnet.towers import Towers
from lipsync_core.syncnet.distances import MAX_SHIFT, pair_distances
from lipsync_core.syncnet.mfcc import FPS, WINDOW_FRAMES

SHIFTS = 2 * MAX_SHIFT + 1
ROUNDING_S = 1e-6
BLOCK_WINDOWS = 24  # per call of the network, whose first layer makes 4.6 MB of each


def ticks_between(start_s: float, end_s: float) -> range:
    """Return the ticks, 25 per second, that fall into a time."""
    first, end = (math.ceil((moment_s - ROUNDING_S) * FPS) for moment_s in (start_s, end_s))
    return range(first, end)


class FaceDistances:
    """The distances of one face; held are the crops of a second and seven pictures, until the network has seen them.

    Attributes:
        last: the last tick in which the face was in view; None before the first.
    """

    def __init__(self, towers: Towers, sound: EmbeddedSound) -> None:
        """Take the networks and the sound."""
        self._towers = towers
        self._sound = sound
        self._ticks, self._distances = array("l"), array("f")
        self._cropper: TrackCropper | None = None  # None while the face is out of view
        self._crops: list[np.ndarray] = []
        self._next = 0  # tick of the first crop
        self._track: Hashable = None
        self.last: int | None = None

    def add(self, tick: int, picture: HasRgb, box: np.ndarray, track: Hashable = 0) -> None:
        """Take the next picture of the face; a gap ends a run, and so does another track.

        Args:
            tick: when it is shown.
            picture: the picture.
            box: the face in it, float [4], (x1, y1, x2, y2) in pixels.
            track: what is followed; changes with a cut, and with another person.

        Raises:
            LipSyncError: the server fails.
        """
        if self._cropper is not None and (tick != (self.last or 0) + 1 or track != self._track):
            self.end()
        self._track = track
        if self._cropper is None:
            self._cropper, self._next = TrackCropper(), tick
        self.last = tick
        self._take(self._cropper.add(picture, box))

    def end(self) -> None:
        """Measure what is held, where the face goes out of view.

        Raises:
            LipSyncError: the server fails.
        """
        if self._cropper is None:
            return
        self._take(self._cropper.finish())
        if len(self._crops) >= WINDOW_FRAMES:
            self._measure()
        self._cropper, self._crops = None, []

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ticks with which windows begin, int [N], and their distances, float32 [N, 31]."""
        return np.asarray(self._ticks), np.asarray(self._distances).reshape(-1, SHIFTS)

    def _take(self, crops: Iterable[np.ndarray]) -> None:
        for crop in crops:
            self._crops.append(crop)
            if len(self._crops) == BLOCK_WINDOWS + WINDOW_FRAMES - 1:
                self._measure()

    def _measure(self) -> None:
        lips = self._towers.embed_lips(np.stack(self._crops))
        end = self._next + len(lips)
        distances = pair_distances(lips, self._sound.between(self._next - MAX_SHIFT, end + MAX_SHIFT))
        self._ticks.extend(range(self._next, end))
        self._distances.extend(distances.reshape(-1).tolist())
        self._next, self._crops = end, self._crops[len(lips) :]
