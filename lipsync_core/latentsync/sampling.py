"""Samples images between their pixels at unrounded positions, as torch does.

OpenCV's own warps round positions to 1/32 pixel, which changes half of the values by one or two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

STRIP_ROWS = 64  # worked on at once, so that they stay in the processor's cache
NO_MAP = np.empty(0, np.uint16)  # positions come in one array of pairs
CUBIC_REACH = 2  # pixels, of the bicubic kernel
CUBIC_A = -0.5  # of the bicubic kernel, as in torch and Pillow with antialiasing


class Places(NamedTuple):
    """The position in an image that each pixel of a result is sampled from; whole numbers are pixel centres.

    Attributes:
        x: float64 [height, width].
        y: float64 [height, width].
    """

    x: np.ndarray
    y: np.ndarray


def places_of(matrix: np.ndarray, size: tuple[int, int]) -> Places:
    """Compute the positions that the pixels of a result are sampled from.

    Args:
        matrix: float [2, 3], result -> image.
        size: Height and width of the result, in pixels.
    """
    columns, rows = np.arange(size[1], dtype=np.float64), np.arange(size[0], dtype=np.float64)[:, None]
    return Places(*(row[0] * columns + row[1] * rows + row[2] for row in matrix.astype(np.float64)))


def strips_of(places: Places) -> Iterator[tuple[slice, Places]]:
    """Yield a few rows after the other, and their positions."""
    for start in range(0, len(places.x), STRIP_ROWS):
        rows = slice(start, start + STRIP_ROWS)
        yield rows, Places(places.x[rows], places.y[rows])


def sample_bilinear(picture: np.ndarray, places: Places, border: float) -> np.ndarray:
    """Sample an image bilinearly.

    Args:
        picture: uint8 or float32 [h, w, 3].
        places: Positions [height, width].
        border: The value of pixels outside the image.

    Returns:
        float32 [height, width, 3].
    """
    # Positions further out see only the border; the bound keeps them within int16.
    inside = [np.clip(place, -2, side + 1) for place, side in zip(places, picture.shape[1::-1], strict=True)]
    floors = [np.floor(place) for place in inside]
    corner = cv2.merge([floor.astype(np.int16) for floor in floors])
    right, below = (in_colour((place - floor).astype(np.float32)) for place, floor in zip(inside, floors, strict=True))

    def neighbours(*step: int) -> np.ndarray:
        found = cv2.remap(
            picture, corner + np.array(step, np.int16), NO_MAP, cv2.INTER_NEAREST, borderValue=(border,) * 3
        )
        return found.astype(np.float32, copy=False)

    upper = _mix(neighbours(0, 0), neighbours(1, 0), right)
    lower = _mix(neighbours(0, 1), neighbours(1, 1), right)
    return _mix(upper, lower, below)


def coverage(places: Places, height: int, width: int) -> np.ndarray:
    """Sample an image of ones with zeros around it: a slope one pixel wide along its border.

    Args:
        places: Positions [...].
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.

    Returns:
        float32 [...].
    """
    across, down = (
        np.clip(np.minimum(place + 1, side - place), 0, 1) for place, side in zip(places, (width, height), strict=True)
    )
    return (across * down).astype(np.float32)


def resize_bicubic(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image, float32 [h, w, C] -> [height, width, C], bicubic with antialiasing."""
    rows, columns, colours = picture.shape
    narrow = _resize_rows(cv2.transpose(picture).reshape(columns, -1), width).reshape(width, rows, colours)
    return _resize_rows(cv2.transpose(narrow).reshape(rows, -1), height).reshape(height, width, colours)


def in_colour(shares: np.ndarray) -> np.ndarray:
    """Repeat a value per pixel for three colours, float32 [h, w] -> [h, w, 3]; numpy is slow with rows of three."""
    return cv2.merge((shares, shares, shares))


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate from a to b, float32 of one shape, which are overwritten; equal values stay exactly equal."""
    b -= a
    b *= share
    a += b
    return a


def _resize_rows(rows: np.ndarray, resized: int) -> np.ndarray:
    """Resize the first axis, float32 [length, N] -> [resized, N]; each new row is a sum of a few old ones."""
    (first, *others) = _cubic_taps(len(rows), resized)
    total = rows[first.rows] * first.weights
    part = np.empty_like(total)
    for tap in others:
        np.take(rows, tap.rows, axis=0, out=part, mode="clip")
        part *= tap.weights
        total += part
    return total


class _Tap(NamedTuple):
    """One summand of each resized row.

    Attributes:
        rows: int [resized], the rows that are read.
        weights: float32 [resized, 1].
    """

    rows: np.ndarray
    weights: np.ndarray


@functools.lru_cache(maxsize=8)
def _cubic_taps(length: int, resized: int) -> list[_Tap]:
    """Return the summands of a resized axis, from the first row that counts to the last one."""
    weights = _cubic_weights(length, resized)
    starts = (weights != 0).argmax(axis=1)
    count = int((length - (weights[:, ::-1] != 0).argmax(axis=1) - starts).max())
    taps = []
    for step in range(count):
        rows = np.minimum(starts + step, length - 1)
        inside = starts + step < length
        taps.append(_Tap(rows, (weights[np.arange(resized), rows] * inside)[:, None]))
    return taps


def _cubic_weights(length: int, resized: int) -> np.ndarray:
    """Compute the weight of each pixel of a row in each pixel of the resized row, float32 [resized, length]."""
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
    """Evaluate the bicubic kernel (Keys)."""
    x = np.abs(x)
    near = ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC_A
    return np.where(x < 1, near, np.where(x < CUBIC_REACH, far, 0))
