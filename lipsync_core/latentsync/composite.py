"""Drawn faces back into their frames, behind a soft edge. Pixels out of the faces' reach keep their value.

Source: docs/specs/latentsync.md, "Paste-back".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from lipsync_core.latentsync.alignment import OUTSIDE, crop_size, face_extent
from lipsync_core.latentsync.sampling import coverage, places_of, resize_bicubic, sample_bilinear

ERODE_SHARE = 20  # the edge is a twentieth as wide as the face's area is long
WHITE = np.float32(255)
SMALLEST_SQUARE = 3  # pixels; what OpenCV takes for an empty square


class SoftMask(NamedTuple):
    """How much of a face shows, float32 [h, w]; its steps are here for comparison."""

    covered: np.ndarray  # by the warped face; fractional at the border
    eroded: np.ndarray
    centre: np.ndarray
    soft: np.ndarray


def composite_faces(frames: np.ndarray, faces: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Put drawn faces into their frames.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        faces: float32 RGB [F, R, R, 3], about -1 to 1.
        matrices: float32 [F, 2, 3], frame -> upright crop, as the faces were aligned with.

    Returns:
        uint8 RGB [F, H, W, 3].
    """
    synced = frames.copy()
    for frame, face, matrix in zip(synced, faces, matrices, strict=True):
        rows, columns = reached_region(matrix, len(face), frame.shape[0], frame.shape[1])
        if rows.start < rows.stop and columns.start < columns.stop:
            moved = matrix.astype(np.float64)
            moved[:, 2] += moved[:, :2] @ (columns.start, rows.start)
            frame[rows, columns] = _paste(frame[rows, columns], face, moved)
    return synced


def reached_region(matrix: np.ndarray, resolution: int, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of a frame that a face's pasting may change; none for a face beside the frame."""
    x1, y1, x2, y2 = face_extent(matrix[None], resolution)
    return _inside(y1, y2, height), _inside(x1, x2, width)


def soft_mask(covered: np.ndarray) -> SoftMask:
    """Make a mask with a soft inner edge from what a face covers, float32 [h, w]."""
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
    # The border's level belongs to another range than the face's: whatever lies beside the face is white.
    drawn = np.clip(sample_bilinear(crop, places, OUTSIDE) / 2 + np.float32(0.5), 0, 1) * WHITE
    mask = soft_mask(coverage(places, height, width))
    soft, eroded = mask.soft[..., None], mask.eroded[..., None]
    mixed = soft * (eroded * drawn) + (1 - soft) * frame
    return np.where(soft > 0, mixed.astype(np.uint8), frame)


def _erode(mask: np.ndarray, side: int) -> np.ndarray:
    """Take the lowest value of a square around each pixel; the frame's border erodes nothing."""
    return cv2.erode(mask, np.ones((side, side), np.uint8))


def _inside(low: float, high: float, length: int) -> slice:
    """Whole pixels from low to high that are within 0 and length."""
    return slice(int(np.clip(math.floor(low), 0, length)), int(np.clip(math.ceil(high), 0, length)))
