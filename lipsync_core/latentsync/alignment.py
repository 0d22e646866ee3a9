"""Faces warped upright into the network's squares, and where they came from. Knows no landmarks but three points.

A face's matrix leads from the frame's pixels to the pixels of its upright crop, whose shape is 3:4; the crop is then
squeezed into a square. Both ways use it: the drawn face returns by the same matrix.

The original steadies faces by a running value of the nose's offset from the template, the bias. It is an argument and
a result here, so that chunks give what the whole clip would have given.

Source: docs/specs/latentsync.md, "Alignment".
"""

from __future__ import annotations

import cv2
import numpy as np

from lipsync_core.latentsync.sampling import places_of, sample_bilinear

TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])  # left brow, right brow, nose; times the ratio
TEMPLATE_SIZE = (100, 75)  # height, width of the crop; times the ratio
RATIO = 2.8 / 256  # per pixel of the square's edge
NOSE = 2
BIAS_KEPT = 0.2  # of the previous frame's bias
OUTSIDE = 127.0  # level of what lies beside the frame
SMALLEST_SPREAD = 1e-3  # pixels; points closer together give no direction
EXTENT_MARGIN = 3.0  # pixels: bilinear neighbours and the soft edge


def crop_size(resolution: int) -> tuple[int, int]:
    """Height and width of the upright crop of faces of this edge."""
    return int(TEMPLATE_SIZE[0] * RATIO * resolution), int(TEMPLATE_SIZE[1] * RATIO * resolution)


def running_bias(alignment_points: np.ndarray, previous_bias: np.ndarray | None = None) -> np.ndarray:
    """Average the nose's offset from the template over time, in units of the points' spread.

    Args:
        alignment_points: float [F, 3, 2], of consecutive frames; rows with NaN (no face) hand the value on.
        previous_bias: float [2], of the frame before; None or NaN at a clip's first face.

    Returns:
        float32 [F, 2], each frame's value; the last row is the next chunk's `previous_bias`.
    """
    running = np.full(2, np.nan) if previous_bias is None else previous_bias.astype(np.float64)
    biases = np.empty((len(alignment_points), 2), np.float32)
    for row, points in zip(biases, alignment_points.astype(np.float64), strict=True):
        if np.isfinite(points).all():
            bias = _normalised(TEMPLATE)[0][NOSE] - _normalised(points)[0][NOSE]
            running = bias if np.isnan(running).any() else BIAS_KEPT * running + (1 - BIAS_KEPT) * bias
        row[:] = running = running.astype(np.float32).astype(np.float64)  # as stored, so that chunks don't differ
    return biases


def affine_matrices(alignment_points: np.ndarray, biases: np.ndarray, resolution: int) -> np.ndarray:
    """Compute the matrices from frames to upright crops.

    Args:
        alignment_points: float [F, 3, 2], (x, y) in pixels: left brow, right brow, nose, as the image shows them.
        biases: float32 [F, 2], see `running_bias`.
        resolution: edge of the faces, pixels.

    Returns:
        float32 [F, 2, 3]; NaN for rows with NaN points.

    Raises:
        ValueError: a face's three points are one, or it has no bias.
    """
    template = TEMPLATE * RATIO * resolution
    matrices = np.full((len(alignment_points), 2, 3), np.nan, np.float32)
    for matrix, points, bias in zip(matrices, alignment_points.astype(np.float64), biases, strict=True):
        if np.isfinite(points).all():
            if not np.isfinite(bias).all():
                raise ValueError("smoothing_biases: expected finite values for every frame with a face, got NaN")
            matrix[:] = _similarity(points, template)
            matrix[:, 2] += bias
    return matrices


def align_faces(frames: np.ndarray, matrices: np.ndarray, resolution: int) -> np.ndarray:
    """Warp one face per frame into a square.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        matrices: float32 [F, 2, 3], frame -> crop.
        resolution: edge of the faces, pixels.

    Returns:
        uint8 RGB [F, resolution, resolution, 3].
    """
    faces = np.empty((len(frames), resolution, resolution, 3), np.uint8)
    for face, frame, matrix in zip(faces, frames, matrices, strict=True):
        places = places_of(inverse(matrix), crop_size(resolution))
        crop = sample_bilinear(frame, places, OUTSIDE).astype(np.uint8)
        cv2.resize(crop, (resolution, resolution), dst=face, interpolation=cv2.INTER_LANCZOS4)
    return faces


def has_face(matrices: np.ndarray) -> np.ndarray:
    """Say which frames have a face, float [F, 2, 3] -> bool [F]."""
    return np.isfinite(matrices).all(axis=(1, 2))


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Turn an affine matrix around, float [2, 3] -> float64 [2, 3]."""
    square = np.vstack([matrix.astype(np.float64), [0, 0, 1]])
    return np.linalg.inv(square)[:2]


def face_extent(matrices: np.ndarray, resolution: int) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 around all that aligning and pasting back these faces looks at, in pixels of the frames."""
    height, width = crop_size(resolution)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    places = np.concatenate([corners @ inverse(matrix).T for matrix in matrices])
    (x1, y1), (x2, y2) = places.min(axis=0) - EXTENT_MARGIN, places.max(axis=0) + EXTENT_MARGIN
    return float(x1), float(y1), float(x2), float(y2)


def _normalised(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre points [3, 2] and divide them by one deviation of all their coordinates; with both."""
    centre = points.mean(axis=0)
    centred = points - centre
    spread = float(centred.std(ddof=1))
    if spread < SMALLEST_SPREAD:
        raise ValueError(
            f"alignment_points: expected three points apart from each other, got {points.tolist()}."
            " Send NaN for a frame without a face"
        )
    return centred / spread, centre, spread


def _similarity(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Turn, scale and move points onto the template, the scale being the ratio of their deviations; float64 [2, 3]."""
    (from_points, from_centre, from_spread), (to_points, to_centre, to_spread) = map(_normalised, (points, template))
    u, _, v = np.linalg.svd(from_points.T @ to_points)
    if np.linalg.det(v.T @ u.T) < 0:  # a mirror image
        v[-1] *= -1
    turned = to_spread / from_spread * (v.T @ u.T)
    return np.hstack([turned, (to_centre - turned @ from_centre)[:, None]])
