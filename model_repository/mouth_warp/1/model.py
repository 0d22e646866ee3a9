"""Warps the mouths of frames to given shapes."""

import cv2
import numpy as np

from lipsync_core.mouth import ClipMouth, sync_mouths
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Warp the mouth of each frame's face to its shape."""

    def setup(self) -> None:
        """Use one thread; the server runs several instances instead."""
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
        """Warp the mouths of a chunk of frames.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            face_landmarks: float32 [F, 468, 3]; NaN for frames without a face.
            mouth_shapes: float32 [F, 2], opening and spread.
            mouth_range: float32 [2], gap at opening 1 and usual width, in eye spans.
            mouth_colours: float32 [2, 16, 3], how the lower face usually looks, for finding covered mouths.
            interior_frames: uint8 RGB [K, h, w, 3], crops of open mouths.
            interior_landmarks: float32 [K, 468, 3], in pixels of the crops.
            interior_indices: int32 [F], the crop for each frame; -1 for a painted interior.

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3].
        """
        clip = ClipMouth(mouth_range, mouth_colours, interior_frames, interior_landmarks, interior_indices)
        return {"synced_frames": sync_mouths(frames, face_landmarks, mouth_shapes, clip)}
