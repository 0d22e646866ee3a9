"""Warps faces upright into square crops, by three alignment points.

A face's affine matrix maps pixels of the frame to pixels of its upright crop, which is 3:4 and then resized to a
square. The generated face is pasted back with the same matrix.

The original steadies faces with a running mean of the nose's offset from the template, the bias. Here it is an argument
and a result, so that a clip processed in chunks gives the same faces as the whole clip.

Source: docs/specs/latentsync.md, "Alignment".
"""

from __future__ import annotations

import cv2
import numpy as np

from lipsync_core.latentsync.sampling import places_of, sample_bilinear, strips_of

TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])  # left brow, right brow, nose; multiplied by the ratio
TEMPLATE_SIZE = (100, 75)  # height, width of the crop; multiplied by the ratio
RATIO = 2.8 / 256  # per pixel of the face's edge
NOSE = 2
BIAS_KEPT = 0.2  # weight of the previous frame's bias
OUTSIDE = 127.0  # pixel value outside the frame
SMALLEST_SPREAD = 1e-3  # pixels; points closer together have no usable direction
FADE = 1  # pixels of the crop around it, over which its coverage falls to zero
EXTENT_MARGIN = 3.0  # pixels of the frame beyond that, for bilinear sampling and a border of pixels not covered


def crop_size(resolution: int) -> tuple[int, int]:
    """Return height and width of the upright crop for faces of this edge length, in pixels."""
    return int(TEMPLATE_SIZE[0] * RATIO * resolution), int(TEMPLATE_SIZE[1] * RATIO * resolution)


def running_bias(alignment_points: np.ndarray, previous_bias: np.ndarray | None = None) -> np.ndarray:
    """Compute the running mean of the nose's offset from the template, in units of the points' spread.

    Args:
        alignment_points: float [F, 3, 2], of consecutive frames; rows with NaN (no face) keep the previous value.
        previous_bias: float [2], of the frame before; None or NaN before the first face of a clip.

    Returns:
        float32 [F, 2], the value for each frame; the last row is `previous_bias` of the next chunk.
    """
    running = np.full(2, np.nan) if previous_bias is None else previous_bias.astype(np.float64)
    biases = np.empty((len(alignment_points), 2), np.float32)
    for row, points in zip(biases, alignment_points.astype(np.float64), strict=True):
        if np.isfinite(points).all():
            bias = _normalised(TEMPLATE)[0][NOSE] - _normalised(points)[0][NOSE]
            running = bias if np.isnan(running).any() else BIAS_KEPT * running + (1 - BIAS_KEPT) * bias
        row[:] = running = running.astype(np.float32).astype(np.float64)  # rounded as stored: chunks agree
    return biases


def affine_matrices(alignment_points: np.ndarray, biases: np.ndarray, resolution: int) -> np.ndarray:
    """Compute the affine matrices from frames to upright crops.

    Args:
        alignment_points: float [F, 3, 2], (x, y) in pixels: left brow, right brow, nose; left is the image's left.
        biases: float32 [F, 2], see `running_bias`.
        resolution: Edge length of the faces, in pixels.

    Returns:
        float32 [F, 2, 3]; NaN for rows with NaN points.

    Raises:
        ValueError: A face's three points coincide, or its bias is not finite.
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
    """Crop one face per frame, upright and square.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        matrices: float32 [F, 2, 3], frame -> crop.
        resolution: Edge length of the faces, in pixels.

    Returns:
        uint8 RGB [F, resolution, resolution, 3].
    """
    faces = np.empty((len(frames), resolution, resolution, 3), np.uint8)
    crop = np.empty((*crop_size(resolution), 3), np.uint8)
    for face, frame, matrix in zip(faces, frames, matrices, strict=True):
        for rows, places in strips_of(places_of(inverse(matrix), crop_size(resolution))):
            crop[rows] = sample_bilinear(frame, places, OUTSIDE)
        cv2.resize(crop, (resolution, resolution), dst=face, interpolation=cv2.INTER_LANCZOS4)
    return faces


def has_face(matrices: np.ndarray) -> np.ndarray:
    """Return which frames have a face, float [F, 2, 3] -> bool [F]."""
    return np.isfinite(matrices).all(axis=(1, 2))


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Invert an affine matrix, float [2, 3] -> float64 [2, 3]."""
    square = np.vstack([matrix.astype(np.float64), [0, 0, 1]])
    return np.linalg.inv(square)[:2]


def face_extent(matrices: np.ndarray, resolution: int) -> tuple[float, float, float, float]:
    """Bound the pixels that aligning and pasting back these faces reads.

    Args:
        matrices: float [F, 2, 3], finite.
        resolution: Edge length of the faces, in pixels.

    Returns:
        x1, y1, x2, y2 in pixels of the frames.
    """
    height, width = crop_size(resolution)
    left, top, right, bottom = -FADE, -FADE, width - 1 + FADE, height - 1 + FADE
    corners = np.array([[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]], np.float64)
    places = np.concatenate([corners @ inverse(matrix).T for matrix in matrices])
    (x1, y1), (x2, y2) = places.min(axis=0) - EXTENT_MARGIN, places.max(axis=0) + EXTENT_MARGIN
    return float(x1), float(y1), float(x2), float(y2)


def _normalised(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre points [3, 2] and divide them by the standard deviation of all coordinates; also return both."""
    centre = points.mean(axis=0)
    centred = points - centre
    spread = float(centred.std(ddof=1))
    if spread < SMALLEST_SPREAD:
        raise ValueError(
            f"alignment_points: expected three distinct points, got {points.tolist()}."
            " Send NaN for a frame without a face"
        )
    return centred / spread, centre, spread


def _similarity(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Fit rotation, scale and shift from points to the template; the scale is the ratio of their deviations.

    Returns:
        float64 [2, 3].
    """
    (from_points, from_centre, from_spread), (to_points, to_centre, to_spread) = map(_normalised, (points, template))
    u, _, v = np.linalg.svd(from_points.T @ to_points)
    if np.linalg.det(v.T @ u.T) < 0:  # a reflection
        v[-1] *= -1
    turned = to_spread / from_spread * (v.T @ u.T)
    return np.hstack([turned, (to_centre - turned @ from_centre)[:, None]])
