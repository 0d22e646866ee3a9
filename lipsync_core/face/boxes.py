"""Areas and overlaps of boxes (x1, y1, x2, y2)."""

from __future__ import annotations

import numpy as np


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box in square pixels, [..., 4] -> [...]."""
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box, [4], with several, [K, 4] -> [K]; 0 where both are empty."""
    overlap = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(overlap, 0, None).prod(axis=1)
    union = box_areas(box) + box_areas(boxes) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
