"""The part of a landmark crop around the mouth, and where in it the landmark network looks for the lips.

Judging the mouth needs only this window of the crop, a quarter of its pixels. docs/specs/face.md, "Covered mouths".
"""

from __future__ import annotations

import numpy as np

from lipsync_core.face import LANDMARK_IMAGE_SIZE, crop_regions, regions_from_landmarks
from lipsync_core.mouth.geometry import LOWER_OUTER, UPPER_OUTER

MOUTH_WINDOW_SIZE = 96  # pixels of the landmark crop
FEATURE_STRIDE = 4  # pixels of the crop per pixel of the features
MOUTH_PLACES = 16  # per axis
LIP_MARGIN = 1.5  # side of the sampled rectangle, over that of the lips' box
LIPS = (*UPPER_OUTER, *LOWER_OUTER)
LEFT_END, RIGHT_END = 0, len(UPPER_OUTER) - 1  # corners of the mouth, in LIPS


def mouth_windows(frames: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the mouth's window out of each frame; it lies on the features' raster of the whole landmark crop.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        landmarks: float [F, 468, 3], one face per frame, in its pixels.

    Returns:
        images, uint8 RGB [F, 96, 96, 3]; places, float32 [F, 16, 16, 2], (x, y) from -1 to 1 over the features.
    """
    regions = regions_from_landmarks(landmarks)
    centres, sides, turns = regions[:, None, :2], regions[:, None, 2:3], _rotations(regions[:, 3])
    scales = sides / LANDMARK_IMAGE_SIZE
    lips = (landmarks[:, LIPS, :2] - centres) @ turns / scales + LANDMARK_IMAGE_SIZE / 2  # in pixels of the crop
    middles = (lips.min(axis=1) + lips.max(axis=1)) / 2
    starts = FEATURE_STRIDE * np.round((middles - MOUTH_WINDOW_SIZE / 2) / FEATURE_STRIDE)
    shifts = (starts + (MOUTH_WINDOW_SIZE - LANDMARK_IMAGE_SIZE) / 2)[:, None]
    windows = regions.copy()
    windows[:, :2] += ((shifts * scales) @ turns.transpose(0, 2, 1))[:, 0]
    windows[:, 2] *= MOUTH_WINDOW_SIZE / LANDMARK_IMAGE_SIZE
    images = [
        crop_regions(frame, window[None], MOUTH_WINDOW_SIZE, replicate_border=True)
        for frame, window in zip(frames, windows, strict=True)
    ]
    return np.concatenate(images), _places((lips - starts[:, None]) / FEATURE_STRIDE)


def _places(lips: np.ndarray) -> np.ndarray:
    """Spread 16 x 16 places over the turned rectangle around lips, [F, 22, 2], as the lip refinement does."""
    along = lips[:, RIGHT_END] - lips[:, LEFT_END]
    turns = _rotations(np.arctan2(along[:, 1], along[:, 0]))
    upright = lips @ turns
    low, high = upright.min(axis=1), upright.max(axis=1)
    columns, rows = np.meshgrid(np.arange(MOUTH_PLACES), np.arange(MOUTH_PLACES))
    steps = (np.stack([columns, rows], axis=-1).reshape(1, -1, 2) + 0.5) / MOUTH_PLACES - 0.5
    spread = steps * (LIP_MARGIN * (high - low))[:, None] + ((low + high) / 2)[:, None]
    points = spread @ turns.transpose(0, 2, 1) - 0.5
    last = MOUTH_WINDOW_SIZE / FEATURE_STRIDE - 1
    return (2 * points / last - 1).astype(np.float32).reshape(-1, MOUTH_PLACES, MOUTH_PLACES, 2)


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Return matrices that turn rows of points back by some angles: [F] -> [F, 2, 2]."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
