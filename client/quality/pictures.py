"""Compares pictures before and after lip-sync: what changed where, how the change ends, and whether it flickers.

Levels are those of 8 bits, whatever the depth of the picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np

from client.media import Picture, Region
from client.media.picture import PLANES
from client.media.pixels import plane_array

RING = np.ones((3, 3), np.uint8)
GAPS = np.ones((9, 9), np.uint8)  # unchanged samples within a change, by chance
BLOCK = 8  # samples, whose mean hides noise but not flicker
RUN = 3  # adjacent frames


def count_outside(before: Picture, after: Picture, regions: Sequence[Region]) -> int:
    """Count the samples of all planes that differ outside some regions, which are in upright pixels."""
    if before is after:
        return 0
    count = 0
    for plane in range(PLANES):
        here, there = (plane_array(picture.frame, plane, after.native) for picture in (before, after))
        differ = here != there
        for region in regions:
            coded = after.orientation.coded_region(region, after.width, after.height)
            differ[after.native.plane_region(plane, coded)] = False
        count += int(np.count_nonzero(differ))
    return count


def edge_step(before: Picture, after: Picture) -> float | None:
    """Return the mean change along the outer edge of what changed; None if nothing did."""
    if before is after:
        return None
    change = cv2.absdiff(_luma(before), _luma(after))
    left, top, width, height = cv2.boundingRect((change > 0).astype(np.uint8))
    if not width:
        return None
    inner = change[top : top + height, left : left + width]
    padded = np.pad((inner > 0).astype(np.uint8), GAPS.shape[0])
    whole = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, GAPS)
    edge = (whole - cv2.erode(whole, RING))[GAPS.shape[0] : -GAPS.shape[0], GAPS.shape[0] : -GAPS.shape[0]] > 0
    return float(inner[edge].mean()) / (1 << (after.native.depth - 8)) if edge.any() else None


class FlickerMeter:
    """Measures how much more a changed region flickers than it did before, over runs of adjacent frames.

    Flicker is what goes away and comes back from one frame to the next; steady motion is none.
    """

    def __init__(self) -> None:
        """Start without a frame."""
        self._last: deque[tuple[int, np.ndarray, np.ndarray]] = deque(maxlen=RUN)
        self._extra: list[float] = []

    def see(self, number: int, before: Picture, after: Picture) -> None:
        """Take a frame; the numbers of frames rise."""
        if self._last and self._last[-1][0] != number - 1:
            self._last.clear()
        self._last.append((number, _blocks(before), _blocks(after)))
        if len(self._last) == RUN:
            _, befores, afters = (np.stack(rows) for rows in zip(*self._last, strict=True))
            changed = (np.abs(befores - afters) > 0.5).all(axis=0)
            if changed.any():
                scale = 1 << (after.native.depth - 8)
                self._extra.append(float((_returns(afters) - _returns(befores))[changed].mean()) / scale)

    @property
    def extra(self) -> float | None:
        """The median over all runs, in levels, 0 if there is less flicker than before; None without a run."""
        return max(0.0, float(np.median(self._extra))) if self._extra else None


def _returns(run: np.ndarray) -> np.ndarray:
    first, middle, last = run
    return np.maximum(np.abs(first - 2 * middle + last) - np.abs(last - first), 0) / 2


def _blocks(picture: Picture) -> np.ndarray:
    luma = _luma(picture)
    size = max(1, luma.shape[1] // BLOCK), max(1, luma.shape[0] // BLOCK)
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _luma(picture: Picture) -> np.ndarray:
    return plane_array(picture.frame, 0, picture.native)
