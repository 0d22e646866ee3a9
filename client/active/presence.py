"""Where each person is in view over a whole video: boxes by frame, in a few numbers per frame."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from client.tracking.follow import MAX_GAP_FRAMES
from client.tracking.identity import SeenPerson

Run = tuple[int, int]  # first frame, and the one behind the last


@dataclass(frozen=True, eq=False)
class Presence:
    """A person's way through a video.

    Attributes:
        numbers: the numbers that the person had on the way; the first one is the person's.
        frames: int32 [N], frames in which the face was found, or missed for a moment; rising.
        boxes: float32 [N, 4], (x1, y1, x2, y2) in pixels; interpolated where the face was missed.
        claimed: share of the frames in which another speaker has the face, 0 to 1.
    """

    numbers: tuple[int, ...]
    frames: np.ndarray
    boxes: np.ndarray
    claimed: float

    @property
    def number(self) -> int:
        """Names the person within the video."""
        return self.numbers[0]

    @property
    def mean_area(self) -> float:
        """Mean area of the face, in square pixels."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return float((sides[:, 0] * sides[:, 1]).mean())

    def in_view(self, count: int) -> np.ndarray:
        """Return whether the person is in each of so many frames, bool [count]."""
        seen = np.zeros(count, bool)
        seen[self.frames] = True
        return seen

    def runs(self, shots: np.ndarray) -> Iterator[Run]:
        """Yield runs of adjacent frames within one shot; shots int32 [F] numbers those of all frames."""
        breaks = np.flatnonzero((np.diff(self.frames) > 1) | (np.diff(shots[self.frames]) != 0)) + 1
        for part in np.split(self.frames, breaks):
            if len(part):
                yield int(part[0]), int(part[-1]) + 1


class PresenceRecorder:
    """Notes who is where, frame by frame."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._seen: dict[int, _Record] = {}

    def see(self, index: int, people: Sequence[SeenPerson], claimed: Sequence[object]) -> None:
        """Take the next frame, who is in it, and the faces that other speakers have."""
        for person in people:
            is_claimed = any(person.face is face for face in claimed)
            self._seen.setdefault(person.number, _Record()).add(index, person, claimed=is_claimed)

    def presences(self, current: Callable[[int], int]) -> list[Presence]:
        """Return everybody, in the order of appearance; `current` gives the present number for any that was used."""
        groups: dict[int, list[int]] = {}
        for number in sorted(self._seen):
            groups.setdefault(current(number), []).append(number)
        return [
            _joined((known, *(n for n in numbers if n != known)), [self._seen[n] for n in numbers])
            for known, numbers in groups.items()
        ]


class _Record:
    def __init__(self) -> None:
        self.frames, self.tracks, self.boxes = array("l"), array("l"), array("f")
        self.claimed = 0

    def add(self, index: int, person: SeenPerson, *, claimed: bool) -> None:
        self.frames.append(index)
        self.tracks.append(person.track)
        self.boxes.extend(person.face.box.tolist())
        self.claimed += claimed


def _joined(numbers: tuple[int, ...], records: Sequence[_Record]) -> Presence:
    """Join what was noted under several numbers, and bridge gaps of a track as `bridge_gaps` does."""
    frames = np.concatenate([np.asarray(record.frames, np.int32) for record in records])
    order = np.argsort(frames, kind="stable")
    frames = frames[order]
    # tracks of different numbers are different
    tracks = np.concatenate([np.asarray(record.tracks) * len(records) + i for i, record in enumerate(records)])[order]
    boxes = np.concatenate([np.asarray(record.boxes, np.float32).reshape(-1, 4) for record in records])[order]
    steps = np.diff(frames)
    bridged = (steps > 1) & (steps <= MAX_GAP_FRAMES + 1) & (np.diff(tracks) == 0)
    missed = [np.arange(frames[i] + 1, frames[i + 1], dtype=np.int32) for i in np.flatnonzero(bridged)]
    whole = np.unique(np.concatenate([frames, *missed]))
    filled = np.stack([np.interp(whole, frames, boxes[:, side]) for side in range(4)], axis=1).astype(np.float32)
    return Presence(numbers, whole, filled, sum(record.claimed for record in records) / len(frames))
