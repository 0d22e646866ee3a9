"""Follows one face through a stream of frames: links it by overlap, bridges gaps and smooths its landmarks.

Works frame by frame with bounded lookahead. Does not depend on video files or Triton.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from client.tracking.faces import Face, FaceChoice

Frame = TypeVar("Frame")

MIN_OVERLAP = 0.25  # intersection over union that links a face to the one in the previous frame, or to a stated box
MAX_GAP_FRAMES = 5  # longest run of frames without the face that is bridged
LARGER_FACTOR = 2.0  # a face this many times larger than the followed one...
LARGER_FRAMES = 12  # ...for this many frames replaces it, if the largest face was asked for
SMOOTHING_SIGMA = 0.7  # frames; docs/specs/face.md, "Landmarks and tracking"
SMOOTHING_RADIUS = 2  # frames on either side: 5 taps
THUMBNAIL_SIDE = 32  # pixels; size at which frames are compared to detect cuts
CUT_DIFFERENCE = 22.0  # mean grey-level difference of two thumbnails, 0 to 255
CUT_CORRELATION = 0.75  # of two thumbnails; a cut lowers it below this, motion and flashes do not


@dataclass(frozen=True)
class Observation(Generic[Frame]):
    """A frame and the followed face in it.

    Attributes:
        frame: the caller's frame, passed through unchanged.
        face: the followed face; None if there is no usable one.
        track: number that changes when another face is followed, or the same one after a cut or a long gap.
    """

    frame: Frame
    face: Face | None
    track: int


class CutDetector:
    """Detects cuts between shots from thumbnails of consecutive frames."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._last: np.ndarray | None = None

    def is_cut(self, thumbnail: np.ndarray) -> bool:
        """Compare a thumbnail, float32 grey [h, w], with the previous one; the first frame is never a cut."""
        last, self._last = self._last, thumbnail
        if last is None or float(np.abs(thumbnail - last).mean()) < CUT_DIFFERENCE:
            return False
        a, b = thumbnail - thumbnail.mean(), last - last.mean()
        scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
        return scale == 0 or float((a * b).sum()) / scale < CUT_CORRELATION


class FaceLinker:
    """Chooses a face at the start of each shot, and finds it in every frame by overlap."""

    def __init__(self, choice: FaceChoice) -> None:
        """Follow the face that `choice` picks."""
        self._choice = choice
        self._face: Face | None = None
        self._missing = 0
        self._larger = 0
        self._track = 0

    def link(self, faces: list[Face], cut: bool) -> tuple[Face | None, int]:
        """Return the followed face of the next frame, None if it is missing, and the number of its track."""
        if cut or self._missing > MAX_GAP_FRAMES:
            self._face = None
        if self._face is None:
            return self._choose(faces)
        position = self._position_of(self._face, faces)
        if position is None:
            self._missing += 1
            return None, self._track
        self._missing = 0
        self._face = faces[position]
        if self._is_outgrown(faces):
            return self._choose(faces)
        return self._face, self._track

    def _choose(self, faces: list[Face]) -> tuple[Face | None, int]:
        position = self._choice.pick(faces)
        self._face = None if position is None else faces[position]
        self._missing = self._larger = 0
        self._track += 1
        return self._face, self._track

    def _position_of(self, face: Face, faces: list[Face]) -> int | None:
        overlaps = [face.overlap(other) for other in faces]
        best = int(np.argmax(overlaps)) if overlaps else -1
        return best if best >= 0 and overlaps[best] >= MIN_OVERLAP else None

    def _is_outgrown(self, faces: list[Face]) -> bool:
        """Return whether the largest face has been a much larger one for a while."""
        assert self._face is not None
        largest = max(face.area for face in faces)
        self._larger = self._larger + 1 if largest > LARGER_FACTOR * self._face.area else 0
        return self._choice.rule == "largest" and self._larger >= LARGER_FRAMES


def bridge_gaps(
    observations: Iterable[Observation[Frame]], max_gap: int = MAX_GAP_FRAMES
) -> Generator[Observation[Frame], None, None]:
    """Fill gaps of at most max_gap frames within a track by linear interpolation."""
    gap: list[Observation[Frame]] = []
    before: Observation[Frame] | None = None
    for observation in observations:
        if observation.face is None:
            gap.append(observation)
            if len(gap) > max_gap or before is None or before.track != observation.track:
                yield from gap
                gap, before = [], None
            continue
        if gap and before is not None and before.track == observation.track:
            yield from _interpolate(before, gap, observation)
        else:
            yield from gap
        gap, before = [], observation
        yield observation
    yield from gap


def _interpolate(
    before: Observation[Frame], gap: list[Observation[Frame]], after: Observation[Frame]
) -> list[Observation[Frame]]:
    assert before.face is not None
    assert after.face is not None
    shares = [(i + 1) / (len(gap) + 1) for i in range(len(gap))]
    return [
        dataclasses.replace(observation, face=before.face.between(after.face, share))
        for observation, share in zip(gap, shares, strict=True)
    ]


def smooth_landmarks(observations: Iterable[Observation[Frame]]) -> Generator[Observation[Frame], None, None]:
    """Smooth the landmarks of each unbroken run of a track with a 5-tap Gaussian, repeating the run's ends."""
    window: deque[Observation[Frame]] = deque(maxlen=2 * SMOOTHING_RADIUS + 1)
    position = 0  # of the next observation to yield, within the window
    for observation in observations:
        if len(window) == window.maxlen:
            position -= 1
        window.append(observation)
        position_due = len(window) - 1 - SMOOTHING_RADIUS
        if position_due >= position:
            yield _smoothed(window, position)
            position += 1
    while position < len(window):
        yield _smoothed(window, position)
        position += 1


def _smoothed(window: deque[Observation[Frame]], position: int) -> Observation[Frame]:
    center = window[position]
    if center.face is None or center.face.landmarks is None:
        return center
    total = np.zeros_like(center.face.landmarks, dtype=np.float64)
    for offset in range(-SMOOTHING_RADIUS, SMOOTHING_RADIUS + 1):
        total += _TAPS[offset + SMOOTHING_RADIUS] * _landmarks_at(window, position, offset)
    face = dataclasses.replace(center.face, landmarks=total.astype(np.float32))
    return dataclasses.replace(center, face=face)


def _landmarks_at(window: deque[Observation[Frame]], position: int, offset: int) -> np.ndarray:
    """Return the landmarks `offset` frames away, float32 [468, 3], or the nearest ones of the same unbroken run."""
    step = 1 if offset > 0 else -1
    nearest = window[position].face
    for distance in range(1, abs(offset) + 1):
        index = position + step * distance
        if not 0 <= index < len(window):
            break
        neighbour = window[index]
        if neighbour.face is None or neighbour.track != window[position].track:
            break
        nearest = neighbour.face
    assert nearest is not None
    assert nearest.landmarks is not None
    return nearest.landmarks


def _gaussian_taps() -> np.ndarray:
    taps = np.exp(-0.5 * (np.arange(-SMOOTHING_RADIUS, SMOOTHING_RADIUS + 1) / SMOOTHING_SIGMA) ** 2)
    return taps / taps.sum()


_TAPS = _gaussian_taps()
