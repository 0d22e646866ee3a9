"""Shows a new picture in part, and eases from one to the other over time."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def eased(progress: NDArray[Any]) -> NDArray[Any]:
    """Ease at both ends: 0 up to 0, 1 from 1 on, between them 3x² - 2x³; float [...] -> float [...]."""
    part = np.clip(progress, 0, 1)
    return np.asarray(part**2 * (3 - 2 * part))


def faded(before: np.ndarray, after: np.ndarray, strength: float) -> np.ndarray:
    """Mix two pictures, uint8 [h, w, 3]: `after` itself at strength 1, `before` at 0."""
    if strength >= 1:
        return after
    return np.asarray(cv2.addWeighted(after, strength, np.ascontiguousarray(before), 1 - strength, 0), np.uint8)
