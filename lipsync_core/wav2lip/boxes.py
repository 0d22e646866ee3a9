"""Face boxes over time, padded and smoothed as in the original, for a whole clip or as a stream.

A box is (x1, y1, x2, y2) in whole pixels; x2 and y2 are exclusive.

Source: docs/specs/wav2lip.md, "Face boxes".
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple

import numpy as np

SMOOTHED_FRAMES = 5  # a box becomes the mean of itself and the next four


class Pads(NamedTuple):
    """How far each edge of a detected box moves outwards, in pixels of the frame; top is over the forehead."""

    top: int = 0
    bottom: int = 10
    left: int = 0
    right: int = 0

    def turned(self, quarters: int) -> Pads:
        """Return the pads in the picture for a face that is turned clockwise by some quarters."""
        clockwise = (self.top, self.right, self.bottom, self.left)
        top, right, bottom, left = clockwise[-quarters % 4 :] + clockwise[: -quarters % 4]
        return Pads(top, bottom, left, right)


def pad_boxes(boxes: np.ndarray, pads: Pads, height: int, width: int) -> np.ndarray:
    """Move the edges of boxes outwards, but not beyond the frame.

    Args:
        boxes: int [..., 4].
        pads: How far each edge moves.
        height: Height of the frame, in pixels.
        width: Width of the frame, in pixels.

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


def smooth_stream(boxes: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
    """Smooth a stream of boxes, int [4] each; each is yielded, int64 [4], once the next four are known."""
    window: list[np.ndarray] = []  # the last boxes, as in the original's array; the first may be smoothed
    smoothed = 0  # how many of these are smoothed
    for box in boxes:
        window.append(np.asarray(box, np.int64))
        if len(window) > SMOOTHED_FRAMES:
            del window[0]
            smoothed = 0
        if len(window) == SMOOTHED_FRAMES:
            window[0] = _mean(window)
            smoothed = 1
            yield window[0]
    # Shorter clips average from row F - 5; for three and four frames this negative index counts from the end.
    first = max(0, 2 * len(window) - SMOOTHED_FRAMES) if len(window) < SMOOTHED_FRAMES else 0
    for position in range(smoothed, len(window)):
        window[position] = _mean(window[first:])
        yield window[position]


def _mean(boxes: list[np.ndarray]) -> np.ndarray:
    return np.trunc(np.mean(boxes, axis=0)).astype(np.int64)
