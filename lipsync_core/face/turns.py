"""By how many quarters faces are turned in the picture, for networks that know upright faces only."""

from __future__ import annotations

import numpy as np

from lipsync_core.face.regions import LEFT_EYE_CORNER, RIGHT_EYE_CORNER


def quarter_turns(landmarks: np.ndarray) -> np.ndarray:
    """Return by how many quarters each face is turned clockwise in the picture, float [F, 468, 3] -> int [F].

    A turn by whole quarters costs no sharpness. NaN counts as upright.
    """
    along = landmarks[:, RIGHT_EYE_CORNER, :2] - landmarks[:, LEFT_EYE_CORNER, :2]
    quarters = np.arctan2(along[:, 1], along[:, 0]) / (np.pi / 2)
    return np.rint(np.nan_to_num(quarters)).astype(int) % 4
