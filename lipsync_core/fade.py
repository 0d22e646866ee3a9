"""Shows a new picture in part."""

import cv2
import numpy as np


def faded(before: np.ndarray, after: np.ndarray, strength: float) -> np.ndarray:
    """Mix two pictures, uint8 [h, w, 3]: `after` itself at strength 1, `before` at 0."""
    if strength >= 1:
        return after
    return np.asarray(cv2.addWeighted(after, strength, np.ascontiguousarray(before), 1 - strength, 0), np.uint8)
