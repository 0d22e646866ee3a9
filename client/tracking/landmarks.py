"""Face landmarks as arrays: stacked, and the pixels around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.tracking.faces import Face

FACE_MARGIN = 0.35  # of the face's size; room for a warp of the mouth, down to the throat


def stack_landmarks(faces: Sequence[Face]) -> np.ndarray:
    """Return the faces' landmarks, float32 [F, 468, 3]."""
    return np.stack([face.landmarks for face in faces if face.landmarks is not None])


def boxes_extent(faces: Sequence[Face]) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 around the faces' boxes, with room for the warp and for finding the faces again."""
    boxes = np.stack([face.box for face in faces])
    return _with_margin(boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0))


def face_extent(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 around landmarks [F, 468, 3], with room for the warp."""
    low, high = landmarks[:, :, :2].min(axis=(0, 1)), landmarks[:, :, :2].max(axis=(0, 1))
    return _with_margin(low, high)


def _with_margin(low: np.ndarray, high: np.ndarray) -> tuple[float, float, float, float]:
    margin = FACE_MARGIN * (high - low).max()
    (x1, y1), (x2, y2) = low - margin, high + margin
    return float(x1), float(y1), float(x2), float(y2)
