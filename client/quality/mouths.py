"""Measures mouths in pictures of a result, with the face model of the server. Keeps crops until there are enough."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import cv2
import numpy as np

from client.active.agreement import lip_opening
from client.media import Picture
from client.servers.calls import InferRequest, TritonCalls
from client.tracking.faces import Face, faces_of_frame
from client.tracking.finder import MEDIAPIPE
from client.tracking.follow import MIN_OVERLAP
from lipsync_core.mouth.geometry import mouth_geometry

SIDE = 320  # pixels of a crop
AROUND = 1.8  # sides of a crop over those of the face in it
MOST_AT_ONCE = 16  # crops per request
MOST_YAW = 40.0  # degrees; the lips of a head that is turned further are not seen


@dataclass(frozen=True, eq=False)
class _Crop:
    key: int
    time_s: float
    picture: np.ndarray
    expected: Face


class MouthMeter:
    """Measures how far mouths are open.

    Attributes:
        openings: by the number of the mouth: times in seconds and openings in distances of the outer eye corners, in
            turn; NaN where it is not seen.
    """

    def __init__(self, triton: TritonCalls, most_at_once: int = MOST_AT_ONCE) -> None:
        """Take a server.

        Args:
            triton: a server with the model `faces`.
            most_at_once: how many frames a request may hold.
        """
        self._triton = triton
        self._at_once = min(most_at_once, MOST_AT_ONCE)
        self._crops: list[_Crop] = []
        self.openings: dict[int, array[float]] = {}

    def add(self, key: int, time_s: float, picture: Picture, face: Face) -> None:
        """Measure a face of a picture.

        Raises:
            LipSyncError: the server fails.
        """
        half = AROUND / 2 * float((face.box[2:] - face.box[:2]).max())
        centre = (face.box[:2] + face.box[2:]) / 2
        low = np.maximum(np.floor(centre - half), 0).astype(int)
        high = np.minimum(np.ceil(centre + half), [picture.width, picture.height]).astype(int)
        if (high - low < 2).any():
            self._note(key, time_s, float("nan"))
            return
        (x1, y1), (x2, y2) = low.tolist(), high.tolist()
        scale = SIDE / max(x2 - x1, y2 - y1)
        found = picture.rgb((x1, y1, x2, y2), long_side=SIDE)
        if scale > 1:
            size = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
            found = cv2.resize(found, size, interpolation=cv2.INTER_CUBIC)
        canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
        canvas[: found.shape[0], : found.shape[1]] = found
        box = ((face.box - np.array([x1, y1, x1, y1])) * scale).astype(np.float32)
        self._crops.append(_Crop(key, time_s, canvas, Face(box, 1.0)))
        if len(self._crops) >= self._at_once:
            self.finish()

    def finish(self) -> None:
        """Measure the crops that wait.

        Raises:
            LipSyncError: the server fails.
        """
        crops, self._crops = self._crops, []
        if not crops:
            return
        frames = np.stack([crop.picture for crop in crops])
        answer = self._triton.infer(InferRequest(MEDIAPIPE.model, {"frames": frames}))
        for i, crop in enumerate(crops):
            faces = faces_of_frame(answer["boxes"][i], answer["scores"][i], answer["landmarks"][i])
            best = max(faces, key=crop.expected.overlap, default=None)
            is_it = best is not None and crop.expected.overlap(best) >= MIN_OVERLAP
            self._note(crop.key, crop.time_s, opening_of(best) if is_it else float("nan"))

    def _note(self, key: int, time_s: float, opening: float) -> None:
        self.openings.setdefault(key, array("d")).extend((time_s, opening))


def opening_of(face: Face | None) -> float:
    """Return how far a mouth is open, in distances of the outer eye corners; NaN if it is not seen well."""
    if face is None or face.landmarks is None:
        return float("nan")
    try:
        yaw = mouth_geometry(face.landmarks).yaw
    except ValueError:
        return float("nan")
    return lip_opening(face.landmarks) if abs(yaw) <= MOST_YAW else float("nan")
