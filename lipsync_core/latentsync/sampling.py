"""Pictures sampled between their pixels, as torch and not as OpenCV does it: with unrounded places.

OpenCV's own warps round places to 1/32 pixel, which is off by one or two levels in half of the values.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

NO_MAP = np.empty(0, np.uint16)  # OpenCV reads places from one array of pairs
CUBIC_REACH = 2  # pixels; of the bicubic kernel
CUBIC_A = -0.5  # of the bicubic kernel; torch's and Pillow's where they antialias


def sample_bilinear(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: float) -> np.ndarray:
    """Read a picture at places that a matrix gives for each pixel of the result.

    Args:
        picture: uint8 or float32 [h, w] or [h, w, C], C up to 4.
        matrix: float64 [2, 3], pixel (x, y) of the result -> place in the picture; pixels' centres are whole numbers.
        size: height and width of the result.
        border: what pixels beside the picture hold.

    Returns:
        float32 [height, width] or [height, width, C].
    """
    columns, rows = np.arange(size[1], dtype=np.float64), np.arange(size[0], dtype=np.float64)[:, None]
    x = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2]
    y = matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2]
    # Places further out than this see the border alone; the bound keeps them within int16.
    left, top = (
        np.floor(np.clip(place, -2, limit + 1)) for place, limit in zip((x, y), picture.shape[1::-1], strict=True)
    )
    fraction_x, fraction_y = ((place - whole).clip(0, 1).astype(np.float32) for place, whole in ((x, left), (y, top)))
    if picture.ndim == 3:
        fraction_x, fraction_y = fraction_x[..., None], fraction_y[..., None]
    corner = np.stack([left, top], axis=-1).astype(np.int16)

    def neighbours(right: int, below: int) -> np.ndarray:
        places = corner + np.array([right, below], np.int16)
        filled = (border,) * 4
        return cv2.remap(picture, places, NO_MAP, cv2.INTER_NEAREST, borderValue=filled).astype(np.float32, copy=False)

    upper = _mix(neighbours(0, 0), neighbours(1, 0), fraction_x)
    lower = _mix(neighbours(0, 1), neighbours(1, 1), fraction_x)
    return _mix(upper, lower, fraction_y)


def resize_bicubic(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture, float32 [h, w, C] -> [height, width, C], bicubic and antialiased."""
    rows, columns = _cubic_weights(picture.shape[0], height), _cubic_weights(picture.shape[1], width)
    narrow = np.einsum("xw,hwc->hxc", columns, picture, optimize=True)
    return np.einsum("yh,hxc->yxc", rows, narrow, optimize=True)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Go from a towards b; equal values stay exactly what they are."""
    return a + share * (b - a)


@functools.lru_cache(maxsize=8)
def _cubic_weights(length: int, resized: int) -> np.ndarray:
    """Weights of each pixel of a row in each pixel of the resized row, float32 [resized, length]."""
    scale = length / resized
    stretch = max(scale, 1.0)
    reach = CUBIC_REACH * stretch
    centres = (np.arange(resized)[:, None] + 0.5) * scale
    pixels = np.arange(length)
    first = np.maximum(np.floor(centres - reach + 0.5), 0)
    end = np.minimum(np.floor(centres + reach + 0.5), length)
    weights = _cubic((pixels + 0.5 - centres) / stretch) * ((pixels >= first) & (pixels < end))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel."""
    x = np.abs(x)
    near = ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC_A
    return np.where(x < 1, near, np.where(x < CUBIC_REACH, far, 0))
