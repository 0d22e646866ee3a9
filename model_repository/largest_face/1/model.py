"""Chooses the face to change: the one that the client tracks, or the largest one found."""

from __future__ import annotations

import numpy as np

from lipsync_core.checks import check_frames, check_rows
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Pass on the landmarks of a tracked face, or find the largest face of each frame."""

    def run(self, frames: np.ndarray, landmarks: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the given landmarks unchanged, or find them.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            landmarks: float32 [F, 468, 3]; NaN for frames without a face.

        Returns:
            face_landmarks, float32 [F, 468, 3]; NaN for frames without a face.

        Raises:
            ValueError: There are no frames, or `landmarks` has another number of rows.
        """
        if landmarks is None:
            return {"face_landmarks": self._find(frames)}
        check_rows("landmarks", landmarks, len(frames))
        return {"face_landmarks": landmarks}

    def _find(self, frames: np.ndarray) -> np.ndarray:
        check_frames(frames)
        found = self.infer("faces", {"frames": frames})["landmarks"]
        if not found.shape[1]:
            return np.full((len(frames), *found.shape[2:]), np.nan, np.float32)
        return found[:, 0]
