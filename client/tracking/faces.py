"""Faces found in frames, and the choice of one of several. Knows nothing of time, video or Triton."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MIN_CHOSEN_SCORE = 0.6  # a face is chosen from here on, and then followed down to the detector's own threshold


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    Attributes:
        box: float32 [4], (x1, y1, x2, y2) in pixels.
        score: the detector's certainty, 0 to 1.
        landmarks: float32 [468, 3], (x, y, z) in pixels; None where the detector finds boxes only.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the box, (x, y) in pixels."""
        return float(self.box[0] + self.box[2]) / 2, float(self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    def between(self, other: Face, share: float) -> Face:
        """Return the face on the way from this one (share 0) to another (share 1)."""
        landmarks = None
        if self.landmarks is not None and other.landmarks is not None:
            landmarks = _mix(self.landmarks, other.landmarks, share)
        return Face(_mix(self.box, other.box, share), min(self.score, other.score), landmarks)

    def overlap(self, other: Face) -> float:
        """Intersection over union of the two boxes, 0 to 1."""
        low = np.maximum(self.box[:2], other.box[:2])
        high = np.minimum(self.box[2:], other.box[2:])
        common = float(np.prod(np.maximum(high - low, 0)))
        return common / max(self.area + other.area - common, 1e-6)


@dataclass(frozen=True)
class FaceChoice:
    """Which of several faces is to speak: by rule, by place from the left (0 first), or nearest to a point."""

    rule: Literal["largest", "left", "right", "index", "point"] = "largest"
    index: int = 0
    point: tuple[float, float] = (0.0, 0.0)

    def pick(self, faces: Sequence[Face]) -> int | None:
        """Return the position of the chosen face, None where there is none to choose."""
        positions = [i for i, face in enumerate(faces) if face.score >= MIN_CHOSEN_SCORE]
        if not positions:
            return None
        if self.rule == "largest":
            return max(positions, key=lambda i: faces[i].area)
        if self.rule == "point":
            return min(positions, key=lambda i: math.dist(faces[i].center, self.point))
        from_left = sorted(positions, key=lambda i: faces[i].center[0])
        index = {"left": 0, "right": -1, "index": self.index}[self.rule]
        return from_left[index] if index < len(from_left) else None


LARGEST = FaceChoice()


def _mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return (a + (b - a) * share).astype(np.float32)


def parse_face_choice(text: str) -> FaceChoice:
    """Read largest, left, right, an index from the left, or a point X,Y in pixels.

    Raises:
        ValueError: the text is none of these.
    """
    if text in ("largest", "left", "right"):
        return FaceChoice(text)  # type: ignore[arg-type]
    if text.isdecimal():
        return FaceChoice("index", index=int(text))
    x, y = (float(part) for part in text.split(","))
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"expected finite coordinates, got {text!r}")
    return FaceChoice("point", point=(x, y))


def show_face_choice(choice: FaceChoice) -> str:
    """Write a choice as `parse_face_choice` reads it."""
    if choice.rule == "index":
        return str(choice.index)
    return f"{choice.point[0]:.10g},{choice.point[1]:.10g}" if choice.rule == "point" else choice.rule


def faces_of_frame(boxes: np.ndarray, scores: np.ndarray, landmarks: np.ndarray | None) -> list[Face]:
    """Make faces of one frame's rows of a face model: [N, 4], [N], [N, 468, 3] or none; empty slots score 0."""
    slots = np.flatnonzero(scores > 0)
    return [Face(boxes[i], float(scores[i]), None if landmarks is None else landmarks[i]) for i in slots]
