"""Square regions of a frame: where a network looks next, and the crops that it sees.

A region is a square, float64 (centre_x, centre_y, side, angle in radians).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

REGION_MARGIN = 1.5  # side of the landmark crop, over the longer side of the face's box
MIN_REGION_SIDE = 1.0  # pixels
LEFT_EYE_CORNER, RIGHT_EYE_CORNER = 33, 263  # outer ones, "left" in the image


def crop_regions(frame: np.ndarray, regions: np.ndarray, size: int, *, replicate_border: bool) -> np.ndarray:
    """Crop square regions out of a frame, bilinear and without filtering, as the networks were trained.

    OpenCV rounds sampling positions to 1/32 pixel. A perspective warp from float32 corners rounds as mediapipe does;
    an affine warp of the same square is a third faster but moves lips by up to 0.3 pixels.

    Args:
        frame: uint8 RGB [H, W, 3].
        regions: float64 [N, 4].
        size: Edge length of each crop, in pixels.
        replicate_border: Outside the frame, repeat its edge pixels instead of black.

    Returns:
        uint8 RGB [N, size, size, 3].
    """
    border = cv2.BORDER_REPLICATE if replicate_border else cv2.BORDER_CONSTANT
    corners = np.array([[0, size], [0, 0], [size, 0], [size, size]], np.float32)  # in the order of boxPoints
    crops = np.empty((len(regions), size, size, frame.shape[2]), np.uint8)
    for crop, (centre_x, centre_y, side, angle) in zip(crops, regions.tolist(), strict=True):
        square = cv2.boxPoints(((centre_x, centre_y), (side, side), math.degrees(angle)))
        matrix = cv2.getPerspectiveTransform(square, corners)
        cv2.warpPerspective(frame, matrix, (size, size), dst=crop, flags=cv2.INTER_LINEAR, borderMode=border)
    return crops


def tile_regions(height: int, width: int, parts: int) -> np.ndarray:
    """Cover a frame with upright squares; their side is the frame's longer side divided by `parts`.

    Neighbours overlap by at least half, so a face of up to half a tile is complete in one of them. With one part it is
    the letterbox: a single square centred on the frame.

    Returns:
        float64 regions [N, 4], row by row.
    """
    side = max(height, width) / parts
    centres_x, centres_y = _tile_centres(width, side), _tile_centres(height, side)
    return np.array([(x, y, side, 0.0) for y in centres_y for x in centres_x])


def turned_regions(box: np.ndarray, margin: float) -> np.ndarray:
    """Place a square around a box, (x1, y1, x2, y2), once for each quarter turn.

    Args:
        box: float [4].
        margin: Side of the square, over the longer side of the box.

    Returns:
        float64 regions [4, 4]; the first is upright, the others are turned clockwise.
    """
    (x1, y1, x2, y2), quarters = box.tolist(), range(4)
    side = max(margin * max(x2 - x1, y2 - y1), MIN_REGION_SIDE)
    return np.array([((x1 + x2) / 2, (y1 + y2) / 2, side, math.pi / 2 * quarter) for quarter in quarters])


def regions_from_detections(boxes: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Place a landmark region on each detection: around its box, with the eyes level.

    Args:
        boxes: float [..., 4], (x1, y1, x2, y2).
        keypoints: float [..., 6, 2], (x, y).

    Returns:
        float64 regions [..., 4].
    """
    return _regions(boxes, keypoints[..., 0, :], keypoints[..., 1, :])


def regions_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Place a landmark region on faces with known landmarks, float [..., 468, 3] -> float64 [..., 4]."""
    points = landmarks[..., :2]
    boxes = np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)
    return _regions(boxes, points[..., LEFT_EYE_CORNER, :], points[..., RIGHT_EYE_CORNER, :])


def _tile_centres(extent: int, side: float) -> np.ndarray:
    if side >= extent:
        return np.array([extent / 2])
    count = int(np.ceil((extent - side) / (side / 2) - 1e-9)) + 1  # 1e-9: an exact fit must not add a tile
    return np.linspace(side / 2, extent - side / 2, count)


def _regions(boxes: np.ndarray, left_eyes: np.ndarray, right_eyes: np.ndarray) -> np.ndarray:
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = REGION_MARGIN * (boxes[..., 2:] - boxes[..., :2]).max(axis=-1)
    along = right_eyes - left_eyes
    angles = np.arctan2(along[..., 1], along[..., 0])
    sides = np.maximum(sides, MIN_REGION_SIDE)
    return np.concatenate([centres, sides[..., None], angles[..., None]], axis=-1).astype(np.float64)
