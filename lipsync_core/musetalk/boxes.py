"""Face boxes: the original's rule on points of a face, the default rule on the face mesh, and smoothing over time.

A box is (x1, y1, x2, y2) in pixels; x2 and y2 are exclusive. The repainted half begins at its vertical centre, which
the rule puts on the bridge of the nose.

Source: docs/specs/musetalk.md, "Face boxes".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass

import numpy as np

BRIDGE = 5  # in the 468-point mesh: the third of the four nose bridge points of the 68-point set
MARGIN = 10  # pixels below the chin, whatever the size of the face; of version 1.5
SMOOTHING_SIGMA = 2.0  # frames
SMOOTHING_RADIUS = 4  # frames on either side

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class BoxRule:
    """What differs between versions of MuseTalk.

    Attributes:
        margin: How far boxes reach below the chin, in pixels; 0 in version 1.0.
        shift: How far the bridge of the nose counts as further down, in pixels; `bbox_shift` of version 1.0.
    """

    margin: int = MARGIN
    shift: int = 0


DEFAULT_RULE = BoxRule()


def original_box(points: np.ndarray, bridge: int, detected: np.ndarray | None, shift: int = 0) -> np.ndarray:
    """Compute a face's box by the original's rule, before the margin.

    Args:
        points: float [N, 2], (x, y) of the face's points.
        bridge: Index of the point on the bridge of the nose.
        detected: int [4], the face detector's box, which replaces an unusable one; None if there is no face.
        shift: How far the bridge is moved down, in pixels; of version 1.0.

    Returns:
        int64 [4]; zeros without a face. It may reach beyond the right and lower edge of the frame.
    """
    if detected is None:
        return np.zeros(4, np.int64)
    whole = np.trunc(points).astype(np.int64)
    whole[bridge, 1] += shift
    centre, bottom = whole[bridge, 1], whole[:, 1].max()
    box = np.array([whole[:, 0].min(), max(0, 2 * centre - bottom), whole[:, 0].max(), bottom])
    x1, y1, x2, y2 = box
    return np.asarray(detected, np.int64) if y2 <= y1 or x2 <= x1 or x1 < 0 else box


def with_margin(boxes: np.ndarray, height: int, margin: int = MARGIN) -> np.ndarray:
    """Move the lower edges of boxes, [..., 4], down by a margin, within a frame of this height."""
    moved = boxes.copy()
    moved[..., 3] = np.minimum(moved[..., 3] + margin, height)
    return moved


def mesh_boxes(landmarks: np.ndarray, shift: int = 0) -> np.ndarray:
    """Compute the boxes of faces from their meshes, in parts of pixels and before the margin.

    Args:
        landmarks: float [F, 468, 3], of upright faces; NaN for frames without a face.
        shift: See `BoxRule`.

    Returns:
        float32 [F, 4]; NaN without a face.
    """
    points = landmarks[..., :2]
    (x1, _), (x2, bottom) = np.moveaxis(points.min(axis=1), -1, 0), np.moveaxis(points.max(axis=1), -1, 0)
    top = 2 * (points[:, BRIDGE, 1] + shift) - bottom
    return np.stack([x1, top, x2, bottom], axis=-1).astype(np.float32)


def clipped(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Round boxes, float [..., 4], to whole pixels within the frame; NaN stays NaN."""
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(np.rint(boxes), 0, limits).astype(np.float32)


def boxes_from_landmarks(landmarks: np.ndarray, turns: np.ndarray, height: int, width: int) -> np.ndarray:
    """Compute boxes as they are used by default: upright faces' rule, margin, whole pixels, within the frame.

    Args:
        landmarks: float [F, 468, 3]; NaN for frames without a face.
        turns: int [F], by how many quarters each face is turned clockwise in the picture.
        height: Height of the frames, in pixels.
        width: Width of the frames, in pixels.

    Returns:
        float32 [F, 4], in the frames' pixels; NaN without a face.
    """
    return place_boxes(turned_mesh_boxes(landmarks, turns, height, width), turns, height, width)


def turned_mesh_boxes(
    landmarks: np.ndarray, turns: np.ndarray, height: int, width: int, rule: BoxRule = DEFAULT_RULE
) -> np.ndarray:
    """Compute `mesh_boxes` in frames that are turned until the faces are upright; arguments as above."""
    return mesh_boxes(turn_points(landmarks, turns, height, width), rule.shift)


def place_boxes(
    upright: np.ndarray, turns: np.ndarray, height: int, width: int, rule: BoxRule = DEFAULT_RULE
) -> np.ndarray:
    """Add the margin to boxes of `turned_mesh_boxes`, float [F, 4], and give them in whole pixels of the frames."""
    below = upright + np.array([0, 0, 0, rule.margin], np.float32)
    placed = np.empty_like(below)
    for row, box, turn in zip(placed, below, turns.tolist(), strict=True):
        row[:] = turn_box(box, -turn, *turned_size(height, width, turn))
    return clipped(placed, height, width)


def turned_size(height: int, width: int, turns: int) -> tuple[int, int]:
    """Return the height and width of a frame after some quarter turns."""
    return (width, height) if turns % 2 else (height, width)


def turn_points(points: np.ndarray, turns: np.ndarray, height: int, width: int) -> np.ndarray:
    """Move points to where they are in frames turned counter-clockwise by some quarters, as `np.rot90` turns them.

    Args:
        points: float [F, N, 2 or more], (x, y, ...) in the frames' pixels.
        turns: int [F].
        height: Height of the frames, in pixels.
        width: Width of the frames, in pixels.

    Returns:
        Like `points`.
    """
    moved = points.copy()
    for row, turn in zip(moved, turns, strict=True):
        tall, wide = height, width
        for _ in range(int(turn) % 4):
            row[:, 0], row[:, 1] = row[:, 1].copy(), wide - row[:, 0]
            tall, wide = wide, tall
    return moved


def turn_box(box: np.ndarray, turns: int, height: int, width: int) -> np.ndarray:
    """Move one box, float [4], with a frame of this size as `np.rot90` turns it."""
    corners = turn_points(box.reshape(1, 2, 2), np.array([turns]), height, width)[0]
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def smooth_stream(boxes: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
    """Smooth a stream of boxes, float [4], over time; its first and last boxes count as if they were repeated."""
    window: deque[np.ndarray] = deque(maxlen=len(_TAPS))
    for box in boxes:
        window.extend([box] * (1 if window else SMOOTHING_RADIUS + 1))
        if len(window) == window.maxlen:
            yield _mean(window)
    if not window:
        return
    for _ in range(SMOOTHING_RADIUS):
        window.append(window[-1])
        if len(window) == window.maxlen:  # not yet in a short stream
            yield _mean(window)


def _mean(window: Iterable[np.ndarray]) -> np.ndarray:
    return np.tensordot(_TAPS, np.array(list(window), np.float64), axes=1)


def _gaussian_taps() -> np.ndarray:
    taps = np.exp(-0.5 * (np.arange(-SMOOTHING_RADIUS, SMOOTHING_RADIUS + 1) / SMOOTHING_SIGMA) ** 2)
    return taps / taps.sum()


_TAPS = _gaussian_taps()
