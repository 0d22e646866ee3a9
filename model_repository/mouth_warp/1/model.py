"""Frames, landmarks and mouth shapes to frames whose mouths have these shapes."""

import cv2
import numpy as np

from lipsync_core.mouth import ClipMouth, sync_mouths
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Warp every face's mouth to its shape."""

    def setup(self) -> None:
        """Keep to one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)

    def run(
        self,
        frames: np.ndarray,
        face_landmarks: np.ndarray,
        mouth_shapes: np.ndarray,
        mouth_range: np.ndarray | None = None,
        mouth_colours: np.ndarray | None = None,
        interior_frames: np.ndarray | None = None,
        interior_landmarks: np.ndarray | None = None,
        interior_indices: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Warp the chunk with what is known of its clip."""
        clip = ClipMouth(mouth_range, mouth_colours, interior_frames, interior_landmarks, interior_indices)
        return {"synced_frames": sync_mouths(frames, face_landmarks, mouth_shapes, clip)}
