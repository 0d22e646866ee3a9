"""How strongly each person is believed to say what is heard: the seam for measures of sync, and the one by lips."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from client.active.agreement import UNKNOWN, evidence, lip_opening
from client.active.sound import SourceSound
from client.media import SourceFrame
from client.tracking.identity import SeenPerson


class Scores(Protocol):
    """Measures how well people follow the sound. Sees every frame once, in order, and is asked afterwards."""

    def see(self, frame: SourceFrame, people: Sequence[SeenPerson]) -> None:
        """Take the next frame, and who is in it."""

    @property
    def is_usable(self) -> bool:
        """Whether anybody could be measured."""

    def evidence(self, numbers: Sequence[int], frames: np.ndarray, times_s: np.ndarray, fps: float) -> np.ndarray:
        """Return the evidence that a person says what is heard.

        Args:
            numbers: the numbers that the person had in the frames that were seen.
            frames: int [F], adjacent frames of one shot in which the person is in view, or was missed for a moment.
            times_s: float64 [F], the frames' centres, in seconds from the file's first frame.
            fps: frames per second.

        Returns:
            float64 [F], logarithm of the odds; positive speaks for the person.
        """


class LipScores:
    """Compares the opening of the lips with what the sound suggests; needs no weights but the shipped regressor's."""

    def __init__(self, sound: SourceSound) -> None:
        """Take the sound."""
        self._sound = sound
        self._frames: dict[int, array[int]] = {}
        self._openings: dict[int, array[float]] = {}

    def see(self, frame: SourceFrame, people: Sequence[SeenPerson]) -> None:
        """Measure everybody's lips; faces without landmarks are not known to move."""
        for person in people:
            if person.face.landmarks is not None:
                self._frames.setdefault(person.number, array("l")).append(frame.index)
                self._openings.setdefault(person.number, array("d")).append(lip_opening(person.face.landmarks))

    @property
    def is_usable(self) -> bool:
        """Whether anybody's lips were seen; a detector that finds boxes alone shows none."""
        return bool(self._frames)

    def evidence(self, numbers: Sequence[int], frames: np.ndarray, times_s: np.ndarray, fps: float) -> np.ndarray:
        """Return the evidence of the lips; see `client.active.agreement`."""
        known = [number for number in numbers if number in self._frames]
        if not known:
            return np.full(len(frames), UNKNOWN)
        at = np.concatenate([np.asarray(self._frames[number]) for number in known])
        order = np.argsort(at, kind="stable")
        openings = np.concatenate([np.asarray(self._openings[number]) for number in known])[order]
        curve = np.interp(frames, at[order], openings)
        return evidence(curve, self._sound.suggested_openings(times_s), fps)
