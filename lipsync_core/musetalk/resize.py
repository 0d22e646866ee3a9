"""Resizes square pictures to the last bit as the original's image library: antialiased, in whole numbers.

Source: docs/specs/musetalk.md, "Resizing".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np

Filter = Literal["bilinear", "bicubic"]
FRACTION_BITS = 22  # of a weight
HALF = 1 << (FRACTION_BITS - 1)
CUBIC_A = -0.5


def resize_square(picture: np.ndarray, side: int, filter_name: Filter) -> np.ndarray:
    """Resize a square picture, uint8 [h, h] or [h, h, C] -> uint8 [side, side] or [side, side, C]."""
    narrow = _resize_first_axis(np.swapaxes(picture, 0, 1), side, filter_name)
    return _resize_first_axis(np.ascontiguousarray(np.swapaxes(narrow, 0, 1)), side, filter_name)


def _resize_first_axis(picture: np.ndarray, length: int, filter_name: Filter) -> np.ndarray:
    if len(picture) == length:
        return picture
    first, weights = _weights(len(picture), length, filter_name)
    total = np.full((length, *picture.shape[1:]), HALF, np.int32)
    trailing = (1,) * (picture.ndim - 1)
    for tap in range(weights.shape[1]):
        rows = picture[np.minimum(first + tap, len(picture) - 1)]
        total += weights[:, tap].reshape(-1, *trailing) * rows
    return np.clip(total >> FRACTION_BITS, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)  # the size of a face rarely changes
def _weights(length: int, resized: int, filter_name: Filter) -> tuple[np.ndarray, np.ndarray]:
    """Return where each result's pixels begin, int [resized], and their weights, int32 [resized, taps]."""
    kernel, support = _KERNELS[filter_name]
    scale = length / resized
    stretch = max(scale, 1.0)
    reach = support * stretch
    centres = (np.arange(resized) + 0.5) * scale
    first = np.maximum(np.trunc(centres - reach + 0.5), 0).astype(int)
    end = np.minimum(np.trunc(centres + reach + 0.5), length).astype(int)
    pixels = first[:, None] + np.arange((end - first).max())
    weights = kernel(np.abs((pixels + 0.5 - centres[:, None]) / stretch)) * (pixels < end[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    whole = np.trunc(weights * (1 << FRACTION_BITS) + np.copysign(0.5, weights)).astype(np.int32)
    return first, whole


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - x, 0)


def _cubic(x: np.ndarray) -> np.ndarray:
    near = ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC_A
    return np.where(x < 1, near, np.where(x < 2, far, 0))


_KERNELS: dict[Filter, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}
