"""The mask that repaints the mouth alone, from the face mesh: no parser needed, and beards and moustaches stay.

Source: docs/specs/musetalk.md, "Masks".
"""

from __future__ import annotations

import cv2
import numpy as np

from lipsync_core.mouth.geometry import LEFT_CORNER, LOWER_OUTER, RIGHT_CORNER, UPPER_OUTER
from lipsync_core.musetalk.boxes import Box
from lipsync_core.musetalk.faces import surroundings

WHITE = 255
# Of the mouth's width: the generated mouth may be wider and, above all, more open than the one in the frame.
ABOVE = 0.07  # the soft edge must not reach the lips
BESIDE = 0.1
BELOW = 0.28


def mouth_mask(landmarks: np.ndarray, box: Box) -> np.ndarray:
    """Draw the mouth, with room for it to open, in the square around a face.

    Args:
        landmarks: float [468, 2 or more], (x, y, ...) of the upright face, in the frame's pixels.
        box: The face's box.

    Returns:
        uint8 [s, s], 0 or 255.
    """
    x1, y1, x2, y2 = surroundings(box)
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    contour = landmarks[[*UPPER_OUTER, *LOWER_OUTER], :2].astype(np.float64) - (x1, y1)
    width = float(np.linalg.norm(landmarks[RIGHT_CORNER, :2] - landmarks[LEFT_CORNER, :2]))
    moves = np.array([(0, -ABOVE), (-BESIDE, 0), (BESIDE, 0), (0, BELOW)]) * width
    points = np.concatenate([contour + move for move in moves])
    hull = cv2.convexHull(np.rint(points).astype(np.int32))
    return np.asarray(cv2.fillConvexPoly(mask, hull, (WHITE,)), np.uint8)
