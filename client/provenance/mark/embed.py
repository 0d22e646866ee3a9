"""Adds the mark to the samples that lip-syncing changed, and to no other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from client.media import Picture
from client.media.picture import PLANES
from client.media.pixels import ColorMatrix, plane_array
from client.provenance.mark.pattern import cell_numbers, signs_of_frame

LEVELS = 2  # of 8 bits: 42.1 dB below the peak in a marked region


class Marker:
    """Marks the pictures of one job, which all have the same size."""

    def __init__(self) -> None:
        """Start without a picture."""
        self._cells: np.ndarray | None = None

    def mark(self, before: Picture, after: Picture, number: int) -> None:
        """Mark a picture.

        Args:
            before: the picture as decoded.
            after: the picture as lip-synced; changed in place, in the samples that differ.
            number: the frame's number in the output.
        """
        planes = range(PLANES) if after.native.is_rgb else range(1)
        pairs = [tuple(plane_array(picture.frame, i, picture.native) for picture in (before, after)) for i in planes]
        changed = _changed(pairs)
        left, top, width, height = cv2.boundingRect(changed)
        if not width:
            return
        after.frame.make_writable()
        box = (slice(top, top + height), slice(left, left + width))
        step = self._step(after, number, box) * changed[box]
        for plane in planes:
            samples = plane_array(after.frame, plane, after.native)[box]
            _add(samples, step, *ColorMatrix(after.native, after.tags).legal(plane))

    def _step(self, picture: Picture, number: int, box: tuple[slice, slice]) -> np.ndarray:
        """Return what is added to the samples of a box, int32 [h, w]."""
        if self._cells is None:
            cells = cell_numbers(picture.width, picture.height)
            self._cells = np.ascontiguousarray(picture.orientation.coded(cells))
        signs = signs_of_frame(number).reshape(-1)[self._cells[box]].astype(np.int32)
        return signs * (LEVELS << (picture.native.depth - 8))


def _changed(pairs: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Return which samples differ in any plane, uint8 [h, w], 0 or 1."""
    changed = np.zeros(pairs[0][0].shape, bool)
    for before, after in pairs:
        changed |= before != after
    return changed.view(np.uint8)


def _add(samples: np.ndarray, step: np.ndarray, low: int, high: int) -> None:
    present = samples.astype(np.int32)
    samples[:] = np.clip(present + step, np.minimum(present, low), np.maximum(present, high))
