"""Crops a face that is followed, frame by frame, as the original evaluators crop whole tracks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from client.tracking.faces import Face
from lipsync_core.syncnet.crops import SMOOTHED_FRAMES, CropPath, crop_face
from lipsync_core.wav2lip.faces import boxes_from_landmarks

AHEAD = SMOOTHED_FRAMES // 2  # frames that are held until the boxes around them are known
LEAST_FRAMES = AHEAD + 1  # of a track; the original's smoothing leaves nothing of shorter ones


class HasRgb(Protocol):
    """A picture."""

    def rgb(self) -> np.ndarray:
        """Return its pixels, uint8 RGB [H, W, 3]."""


def box_to_crop(face: Face) -> np.ndarray:
    """Return the box that crops are made around, float [4], (x1, y1, x2, y2) from the hairline to the chin."""
    return face.box if face.landmarks is None else boxes_from_landmarks(face.landmarks[None])[0]


class TrackCropper:
    """Smooths the boxes of a track and cuts out the crops, each as soon as the six boxes behind it are known."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._squares = deque([np.zeros(3)] * SMOOTHED_FRAMES, SMOOTHED_FRAMES)  # half size, centre x and y
        self._pictures: deque[HasRgb] = deque()
        self._is_long_enough = False

    def add(self, picture: HasRgb, box: np.ndarray) -> Iterator[np.ndarray]:
        """Take the next picture and the face's box in it, (x1, y1, x2, y2), and yield at most one crop.

        Returns:
            Crops, uint8 RGB [224, 224, 3], in order.
        """
        x1, y1, x2, y2 = box.astype(np.float64).tolist()
        self._pictures.append(picture)
        self._squares.append(np.array([max(y2 - y1, x2 - x1) / 2, (x1 + x2) / 2, (y1 + y2) / 2]))
        if len(self._pictures) == LEAST_FRAMES:
            self._is_long_enough = True
            yield self._crop()

    def finish(self) -> Iterator[np.ndarray]:
        """Yield the crops of the last pictures, behind which there are no boxes; none of a track of six or fewer."""
        if not self._is_long_enough:
            self._pictures.clear()
        while self._pictures:
            self._squares.append(np.zeros(3))
            yield self._crop()

    def _crop(self) -> np.ndarray:
        path = CropPath(*np.median(np.stack(self._squares), axis=0)[:, None])
        return crop_face(self._pictures.popleft().rgb(), path, 0)
