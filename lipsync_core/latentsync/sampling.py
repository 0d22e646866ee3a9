"""Pictures sampled between their pixels, as torch and not as OpenCV does it: with unrounded places.

OpenCV's own warps round places to 1/32 pixel, which is off by one or two levels in half of the values.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np

NO_MAP = np.empty(0, np.uint16)  # OpenCV reads places from one array of pairs
CUBIC_REACH = 2  # pixels; of the bicubic kernel
CUBIC_A = -0.5  # of the bicubic kernel; torch's and Pillow's where they antialias


class Places(NamedTuple):
    """Where each pixel of a result looks in a picture, float64 [height, width]; whole numbers are pixels' centres."""

    x: np.ndarray
    y: np.ndarray


def places_of(matrix: np.ndarray, size: tuple[int, int]) -> Places:
    """Compute where the pixels of a result of this height and width look, by a matrix [2, 3] that leads there."""
    columns, rows = np.arange(size[1], dtype=np.float64), np.arange(size[0], dtype=np.float64)[:, None]
    return Places(*(row[0] * columns + row[1] * rows + row[2] for row in matrix.astype(np.float64)))


def sample_bilinear(picture: np.ndarray, places: Places, border: float) -> np.ndarray:
    """Read a picture between its pixels.

    Args:
        picture: uint8 or float32 [h, w, 3].
        places: where to look.
        border: what pixels beside the picture hold.

    Returns:
        float32 [height, width, 3].
    """
    # Places further out than this see the border alone; the bound keeps them within int16.
    inside = [np.clip(place, -2, side + 1) for place, side in zip(places, picture.shape[1::-1], strict=True)]
    corner = np.stack([np.floor(place) for place in inside], axis=-1).astype(np.int16)
    right, below = ((place - corner[..., axis]).astype(np.float32)[..., None] for axis, place in enumerate(inside))

    def neighbours(*step: int) -> np.ndarray:
        found = cv2.remap(
            picture, corner + np.array(step, np.int16), NO_MAP, cv2.INTER_NEAREST, borderValue=(border,) * 3
        )
        return found.astype(np.float32, copy=False)

    upper = _mix(neighbours(0, 0), neighbours(1, 0), right)
    lower = _mix(neighbours(0, 1), neighbours(1, 1), right)
    return _mix(upper, lower, below)


def coverage(places: Places, height: int, width: int) -> np.ndarray:
    """What a picture of ones would give, zeros beside it; float32 [...], a pixel wide slope around the picture."""
    across, down = (
        np.clip(np.minimum(place + 1, side - place), 0, 1) for place, side in zip(places, (width, height), strict=True)
    )
    return (across * down).astype(np.float32)


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
