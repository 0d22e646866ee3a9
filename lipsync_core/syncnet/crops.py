"""Cuts faces out of frames as SyncNet sees them: from the forehead to below the chin, in a square of 224 pixels.

A box is (x1, y1, x2, y2) in pixels.

Source: docs/specs/syncnet.md, "Tracks and crops".
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lipsync_core.syncnet.filters import median_filter

SMOOTHED_FRAMES = 13
CROP_SIZE = 224  # pixels, edge of the network's input
CROP_SCALE = 0.4  # margin on every side, relative to half the size; twice below
GREY = 110  # around the frame


@dataclass(frozen=True)
class CropPath:
    """The crops of a track: smoothed half sizes and centres in pixels, float64 [F] each."""

    half_sizes: np.ndarray
    centres_x: np.ndarray
    centres_y: np.ndarray


def crop_path(boxes: np.ndarray) -> CropPath:
    """Smooth the boxes of a track, float64 [F, 4]; zero padding makes the first and last six smaller."""
    x1, y1, x2, y2 = boxes.T
    curves = (np.maximum(y2 - y1, x2 - x1) / 2, (x1 + x2) / 2, (y1 + y2) / 2)
    return CropPath(*(median_filter(curve, SMOOTHED_FRAMES) for curve in curves))


def crop_face(frame: np.ndarray, path: CropPath, index: int) -> np.ndarray:
    """Crop the face from a frame.

    Args:
        frame: uint8 [H, W, 3], any order of colours.
        path: The crops of the track.
        index: Index of the frame within the track.

    Returns:
        uint8 [224, 224, 3].
    """
    half, x, y = path.half_sizes[index], path.centres_x[index], path.centres_y[index]
    pad = int(half * (1 + 2 * CROP_SCALE))
    rows = int(y + pad - half), int(y + pad + half * (1 + 2 * CROP_SCALE))
    columns = int(x + pad - half * (1 + CROP_SCALE)), int(x + pad + half * (1 + CROP_SCALE))
    padded = cv2.copyMakeBorder(frame, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(GREY, GREY, GREY))
    return resize(padded[max(0, rows[0]) : rows[1], max(0, columns[0]) : columns[1]])


def resize(picture: np.ndarray) -> np.ndarray:
    """Resize a picture, uint8 [h, w, 3], to uint8 [224, 224, 3] regardless of its aspect ratio."""
    return cv2.resize(picture, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
