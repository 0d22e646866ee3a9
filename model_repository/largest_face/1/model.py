"""Chooses the face to change: the caller's, or the largest that the model `faces` finds."""

from __future__ import annotations

import numpy as np

from lipsync_core.checks import check_frames, check_rows
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Pass a followed face on, or find each frame's largest one."""

    def run(self, frames: np.ndarray, landmarks: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Landmarks given count as they are, NaN rows included."""
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
