"""Pastes generated faces back into their frames behind a soft edge. Other pixels keep their value.

Source: docs/specs/latentsync.md, "Paste-back".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from lipsync_core.latentsync.alignment import OUTSIDE, crop_size, face_extent
from lipsync_core.latentsync.sampling import (
    Places,
    coverage,
    in_colour,
    places_of,
    resize_bicubic,
    sample_bilinear,
    strips_of,
)

ERODE_SHARE = 20  # the soft edge is a twentieth of the square root of the face's area
WHITE = np.float32(255)
SMALLEST_SQUARE = 3  # pixels; OpenCV's default for an empty kernel


class SoftMask(NamedTuple):
    """How much of a face is visible, float32 [h, w] each; the intermediate steps are for tests."""

    covered: np.ndarray  # by the warped face; fractional at its border
    eroded: np.ndarray
    centre: np.ndarray
    soft: np.ndarray


def composite_faces(
    frames: np.ndarray, faces: np.ndarray, matrices: np.ndarray, strengths: np.ndarray | None = None
) -> np.ndarray:
    """Paste generated faces into their frames.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        faces: float32 RGB [F, R, R, 3], about -1 to 1.
        matrices: float32 [F, 2, 3], frame -> upright crop, as for `align_faces`.
        strengths: float [F], how much of each face is shown, 0 to 1; None for all of it.

    Returns:
        uint8 RGB [F, H, W, 3].
    """
    synced = frames.copy()
    shares = np.ones(len(frames), np.float32) if strengths is None else strengths
    for frame, face, matrix, share in zip(synced, faces, matrices, shares, strict=True):
        rows, columns = reached_region(matrix, len(face), frame.shape[0], frame.shape[1])
        if share > 0 and rows.start < rows.stop and columns.start < columns.stop:
            moved = matrix.astype(np.float64)
            moved[:, 2] += moved[:, :2] @ (columns.start, rows.start)
            region = frame[rows, columns]
            pasted = _paste(region, face, moved)
            region[:] = (
                pasted if share >= 1 else cv2.addWeighted(pasted, float(share), region.copy(), 1 - float(share), 0)
            )
    return synced


def reached_region(matrix: np.ndarray, resolution: int, height: int, width: int) -> tuple[slice, slice]:
    """Bound the pixels of a frame that pasting a face may change.

    Args:
        matrix: float [2, 3], frame -> upright crop.
        resolution: Edge length of the face, in pixels.
        height: Height of the frame, in pixels.
        width: Width of the frame, in pixels.

    Returns:
        Rows and columns; empty slices for a face outside the frame.
    """
    x1, y1, x2, y2 = face_extent(matrix[None], resolution)
    return _inside(y1, y2, height), _inside(x1, x2, width)


def soft_mask(covered: np.ndarray) -> SoftMask:
    """Make a mask with a soft inner edge from the area that a face covers, float32 [h, w]."""
    eroded = _erode(covered, 2)
    edge = int(math.sqrt(float(eroded.sum(dtype=np.float64)))) // ERODE_SHARE
    centre = _erode(eroded, 2 * edge or SMALLEST_SQUARE)
    sigma = 0.3 * (edge - 1) + 0.8
    size = (2 * edge + 1, 2 * edge + 1)
    soft = cv2.GaussianBlur(centre, size, sigma, borderType=cv2.BORDER_REFLECT_101) if edge else centre
    return SoftMask(covered, eroded, centre, soft)


def _paste(frame: np.ndarray, face: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    height, width = crop_size(len(face))
    crop = resize_bicubic(face, height, width)
    places = places_of(matrix, (frame.shape[0], frame.shape[1]))
    mask = soft_mask(coverage(places, height, width))
    pasted = frame.copy()
    for rows, strip in strips_of(places):
        _paste_strip(pasted[rows], crop, strip, mask.eroded[rows], mask.soft[rows])
    return pasted


def _paste_strip(frame: np.ndarray, crop: np.ndarray, places: Places, eroded: np.ndarray, soft: np.ndarray) -> None:
    """Paste some rows, uint8 [h, w, 3], in place."""
    # OUTSIDE is a pixel value, the face is -1 to 1: whatever lies outside the face becomes white.
    drawn = sample_bilinear(crop, places, OUTSIDE)
    drawn /= 2
    drawn += np.float32(0.5)
    np.clip(drawn, 0, 1, out=drawn)
    drawn *= WHITE
    shares = in_colour(soft)
    drawn *= in_colour(eroded)
    drawn *= shares
    kept = frame.astype(np.float32)
    kept *= 1 - shares
    drawn += kept
    cv2.copyTo(drawn.astype(np.uint8), (soft > 0).view(np.uint8), frame)


def _erode(mask: np.ndarray, side: int) -> np.ndarray:
    """Take the minimum of a square around each pixel, float32 [h, w]; the frame's border does not erode."""
    return cv2.erode(mask, np.ones((side, side), np.uint8))


def _inside(low: float, high: float, length: int) -> slice:
    """Return the whole pixels from low to high that are within 0 and length."""
    return slice(int(np.clip(math.floor(low), 0, length)), int(np.clip(math.ceil(high), 0, length)))
