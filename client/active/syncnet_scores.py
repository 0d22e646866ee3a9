"""Measures with SyncNet how well the people of a video follow its sound.

The evidence is the confidence of SyncNet's authors, within a second around each frame: how far the distance of lips and
sound at the present moment lies below the median distance over all shifts. A clip whose sound is a little early or late
loses nothing, as the smallest distance of a few shifts counts.

What is not known: LEAST_IN_SYNC and PER_CONFIDENCE follow the published reading of whole clips ("below 2: not in sync",
"5 to 10: in sync"); they were not fitted to seconds of real clips, for which nobody here had the published weights.

Memory: 132 bytes for each person and 40 ms in view, 12 MB per hour, and as much again for the one person whose evidence
is asked; crops of a second per person in view, of 150 kB each, and seven pictures, until their embeddings are computed.
No picture and no embedding is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.active.agreement import REACH_S, UNKNOWN
from client.media import SourceFrame
from client.syncnet.cropper import HasRgb, box_to_crop
from client.syncnet.distances import SHIFTS, FaceDistances, ticks_between
from client.syncnet.embedded_sound import EmbeddedSound
from client.syncnet.sound import VideoSound
from client.syncnet.towers import Towers
from client.tracking.identity import SeenPerson
from lipsync_core.syncnet.distances import MAX_SHIFT
from lipsync_core.syncnet.mfcc import FPS, WINDOW_FRAMES

NEAR_SHIFTS = 3  # frames of 40 ms by which a clip's sound may be early or late
LEAST_WINDOWS = 12  # around a frame; fewer tell nothing
LEAST_IN_SYNC = 2.0  # confidence
PER_CONFIDENCE = 1.0  # evidence per unit of confidence


class SyncNetScores:
    """Compares faces with the sound by SyncNet; see `client.active.scores.Scores`."""

    def __init__(self, towers: Towers, sound: VideoSound, time_base: float) -> None:
        """Take the networks, the video's sound, and how many seconds a tick of its frames' durations lasts."""
        self._towers = towers
        self._sound = EmbeddedSound(towers, sound)
        self._time_base = time_base
        self._faces: dict[int, FaceDistances] = {}
        self._sorted: tuple[tuple[int, ...], np.ndarray, np.ndarray] | None = None  # of whom evidence was asked last

    def see(self, frame: SourceFrame, people: Sequence[SeenPerson]) -> None:
        """Crop everybody's face, once for each 40 ms that the frame is shown."""
        for tick in ticks_between(frame.time_s, frame.time_s + float(frame.duration) * self._time_base):
            self._end_runs(tick)
            for person in people:
                self._take(tick, frame.picture, person)

    @property
    def is_usable(self) -> bool:
        """Whether anybody was in view long enough."""
        self._end_runs(None)
        return any(len(face.table()[0]) for face in self._faces.values())

    def evidence(self, numbers: Sequence[int], frames: np.ndarray, times_s: np.ndarray, fps: float) -> np.ndarray:  # noqa: ARG002
        """Return the evidence of lips and sound, float64 [F]; see `Scores`."""
        if self._sorted is None or self._sorted[0] != tuple(numbers):
            self._sorted = (tuple(numbers), *self._table_of(numbers))
        return evidence_of(*self._sorted[1:], times_s)

    def _table_of(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the middles of a person's windows, in seconds and rising, and their distances."""
        self._end_runs(None)
        tables = [self._faces[number].table() for number in numbers if number in self._faces]
        if not tables:
            return np.empty(0), np.empty((0, SHIFTS), np.float32)
        ticks, distances = (np.concatenate(parts) for parts in zip(*tables, strict=True))
        order = np.argsort(ticks, kind="stable")
        return (ticks[order] + WINDOW_FRAMES / 2) / FPS, distances[order]

    def _take(self, tick: int, picture: HasRgb, person: SeenPerson) -> None:
        self._sorted = None
        face = self._faces.setdefault(person.number, FaceDistances(self._towers, self._sound))
        face.add(tick, picture, box_to_crop(person.face), person.track)

    def _end_runs(self, tick: int | None) -> None:
        """End the runs of people who were not in view just before a tick; all of them for None."""
        for face in self._faces.values():
            if tick is None or (face.last is not None and face.last < tick - 1):
                face.end()


def evidence_of(middles_s: np.ndarray, distances: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Turn distances into evidence.

    Args:
        middles_s: float64 [N], middles of the windows in seconds, rising.
        distances: float32 [N, 31], see `pair_distances`.
        times_s: float64 [F], when evidence is wanted.

    Returns:
        float64 [F], logarithm of the odds; UNKNOWN where there are too few windows.
    """
    if not len(times_s):
        return np.empty(0)
    around = slice(
        np.searchsorted(middles_s, times_s.min() - REACH_S),
        np.searchsorted(middles_s, times_s.max() + REACH_S, "right"),
    )
    middles_s, distances = middles_s[around], distances[around]
    sums = np.concatenate([np.zeros((1, SHIFTS)), np.cumsum(distances, axis=0, dtype=np.float64)])
    first, end = np.searchsorted(middles_s, times_s - REACH_S), np.searchsorted(middles_s, times_s + REACH_S, "right")
    count = end - first
    means = (sums[end] - sums[first]) / np.maximum(count, 1)[:, None]
    near = means[:, MAX_SHIFT - NEAR_SHIFTS : MAX_SHIFT + NEAR_SHIFTS + 1].min(axis=1)
    confidence = np.median(means, axis=1) - near
    return np.where(count < LEAST_WINDOWS, UNKNOWN, PER_CONFIDENCE * (confidence - LEAST_IN_SYNC))
