"""Base class of the Python models that crop faces out of frames."""

from __future__ import annotations

import numpy as np

from lipsync_core.face import LANDMARKS
from lipsync_core.triton.picture_step import PictureStep


class FaceStep(PictureStep):
    """Base of a Python model that crops faces, see `TritonStep`; such a model calls largest_face."""

    def largest_faces(self, frames: np.ndarray, *, find: bool) -> np.ndarray:
        """Find the landmarks of the largest faces.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            find: Whether to look for faces; not where their places are known, though not their landmarks.

        Returns:
            float32 [F, 468, 3]; NaN for frames without a face, and for all if none is looked for.
        """
        if find:
            return self.infer("largest_face", {"frames": frames})["face_landmarks"]
        return np.full((len(frames), LANDMARKS, 3), np.nan, np.float32)
