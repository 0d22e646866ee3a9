"""Faces found in a frame, and the choice of one of them. Does not depend on video files or Triton."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MIN_CHOSEN_SCORE = 0.6  # to be chosen; a followed face may score less, down to the detector's own threshold


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    Attributes:
        box: float32 [4], (x1, y1, x2, y2) in pixels.
        score: the detector's confidence, 0 to 1.
        landmarks: float32 [468, 3], (x, y, z) in pixels; None if the detector finds only boxes.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None

    @property
    def center(self) -> tuple[float, float]:
        """Center of the box, (x, y) in pixels."""
        return float(self.box[0] + self.box[2]) / 2, float(self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        """Area of the box, in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    def between(self, other: Face, share: float) -> Face:
        """Interpolate linearly between this face (share 0) and another one (share 1)."""
        landmarks = None
        if self.landmarks is not None and other.landmarks is not None:
            landmarks = _mix(self.landmarks, other.landmarks, share)
        return Face(_mix(self.box, other.box, share), min(self.score, other.score), landmarks)

    def overlap(self, other: Face) -> float:
        """Return the intersection over union of the two boxes, 0 to 1."""
        low = np.maximum(self.box[:2], other.box[:2])
        high = np.minimum(self.box[2:], other.box[2:])
        common = float(np.prod(np.maximum(high - low, 0)))
        return common / max(self.area + other.area - common, 1e-6)


@dataclass(frozen=True)
class FaceChoice:
    """Which of several faces is lip-synced.

    Attributes:
        rule: the largest, leftmost or rightmost face, the one at an index, the one nearest to a point, the one that
            overlaps a box most, or the one that speaks in the source at the time.
        index: position from the left, 0 first.
        point: (x, y) in pixels.
        box: (x1, y1, x2, y2) in pixels.
    """

    rule: Literal["largest", "left", "right", "index", "point", "box", "auto"] = "largest"
    index: int = 0
    point: tuple[float, float] = (0.0, 0.0)
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def pick(self, faces: Sequence[Face]) -> int | None:
        """Return the position of the chosen face in the sequence; None if there is no such face."""
        positions = [i for i, face in enumerate(faces) if face.score >= MIN_CHOSEN_SCORE]
        if not positions:
            return None
        if self.rule in ("largest", "auto"):  # auto, where nobody is known to speak
            return max(positions, key=lambda i: faces[i].area)
        if self.rule == "box":
            meant = Face(np.array(self.box, np.float32), score=1.0)
            best = max(positions, key=lambda i: meant.overlap(faces[i]))
            return best if meant.overlap(faces[best]) > 0 else None
        if self.rule == "point":
            return min(positions, key=lambda i: math.dist(faces[i].center, self.point))
        from_left = sorted(positions, key=lambda i: faces[i].center[0])
        index = {"left": 0, "right": -1, "index": self.index}[self.rule]
        return from_left[index] if index < len(from_left) else None


LARGEST = FaceChoice()


def _mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return (a + (b - a) * share).astype(np.float32)


def parse_face_choice(text: str) -> FaceChoice:
    """Parse auto, largest, left, right, an index from the left, a point X,Y, or a box X1,Y1,X2,Y2, in pixels.

    Raises:
        ValueError: the text is none of these.
    """
    if text in ("auto", "largest", "left", "right"):
        return FaceChoice(text)  # type: ignore[arg-type]
    if text.isdecimal():
        return FaceChoice("index", index=int(text))
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if all(map(math.isfinite, numbers)):
        if len(numbers) == 2:
            return FaceChoice("point", point=numbers)
        if len(numbers) == 4 and numbers[0] < numbers[2] and numbers[1] < numbers[3]:
            return FaceChoice("box", box=numbers)
    raise ValueError(f"expected auto, largest, left, right, INDEX, X,Y or X1,Y1,X2,Y2, got {text!r}")


def show_face_choice(choice: FaceChoice) -> str:
    """Format a choice so that `parse_face_choice` can parse it."""
    if choice.rule == "index":
        return str(choice.index)
    numbers: dict[str, tuple[float, ...]] = {"point": choice.point, "box": choice.box}
    if choice.rule in numbers:
        return ",".join(f"{number:.10g}" for number in numbers[choice.rule])
    return choice.rule


def faces_of_frame(boxes: np.ndarray, scores: np.ndarray, landmarks: np.ndarray | None) -> list[Face]:
    """Convert one frame's rows of a face model's outputs to faces.

    Args:
        boxes: float32 [N, 4], (x1, y1, x2, y2) in pixels.
        scores: float32 [N]; 0 marks an empty row.
        landmarks: float32 [N, 468, 3], (x, y, z) in pixels, or None.
    """
    slots = np.flatnonzero(scores > 0)
    return [Face(boxes[i], float(scores[i]), None if landmarks is None else landmarks[i]) for i in slots]
