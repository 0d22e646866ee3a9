"""Face boxes over time: pads and smoothing as the original does them, all at once or as a stream.

A box is (x1, y1, x2, y2) in whole pixels, its right and lower edges outside of it.

Source: docs/specs/wav2lip.md, "Face boxes".
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple

import numpy as np

SMOOTHED_FRAMES = 5  # a box becomes the mean of itself and the next four


class Pads(NamedTuple):
    """How far a detected box is moved outwards, in pixels of the frame."""

    top: int = 0
    bottom: int = 10
    left: int = 0
    right: int = 0


def pad_boxes(boxes: np.ndarray, pads: Pads, height: int, width: int) -> np.ndarray:
    """Move boxes' edges outwards, but not beyond the frame.

    Args:
        boxes: int [..., 4].
        pads: by how much.
        height: of the frame, pixels.
        width: of the frame, pixels.

    Returns:
        int64 [..., 4].
    """
    x1, y1, x2, y2 = np.moveaxis(boxes.astype(np.int64), -1, 0)
    edges = [
        np.maximum(0, x1 - pads.left),
        np.maximum(0, y1 - pads.top),
        np.minimum(width, x2 + pads.right),
        np.minimum(height, y2 + pads.bottom),
    ]
    return np.stack(edges, axis=-1)


def smooth_boxes(boxes: np.ndarray) -> np.ndarray:
    """Smooth a clip's boxes; the last four mix with already smoothed ones, as in the original.

    Args:
        boxes: int [F, 4].

    Returns:
        int64 [F, 4].
    """
    return np.array(list(smooth_stream(boxes)), np.int64).reshape(-1, 4)


def smooth_stream(boxes: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
    """Smooth boxes, int [4] each, as they come: each leaves once the four after it are known."""
    window: list[np.ndarray] = []  # the last boxes as the original's array holds them, the first of them smoothed
    smoothed = 0  # of them
    for box in boxes:
        window.append(np.asarray(box, np.int64))
        if len(window) > SMOOTHED_FRAMES:
            del window[0]
            smoothed = 0
        if len(window) == SMOOTHED_FRAMES:
            window[0] = _mean(window)
            smoothed = 1
            yield window[0]
    # Shorter clips average from row F - 5 on, which for three and four frames counts from the end.
    first = max(0, 2 * len(window) - SMOOTHED_FRAMES) if len(window) < SMOOTHED_FRAMES else 0
    for position in range(smoothed, len(window)):
        window[position] = _mean(window[first:])
        yield window[position]


def _mean(boxes: list[np.ndarray]) -> np.ndarray:
    return np.trunc(np.mean(boxes, axis=0)).astype(np.int64)
