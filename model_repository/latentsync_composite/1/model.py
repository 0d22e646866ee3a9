"""Pastes generated faces back into their frames."""

import cv2
import numpy as np

from lipsync_core.latentsync.alignment import has_face
from lipsync_core.latentsync.composite import composite_faces
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Paste one generated face into each frame that has one."""

    def setup(self) -> None:
        """Use one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)

    def run(self, frames: np.ndarray, affine_matrices: np.ndarray, synced_faces: np.ndarray) -> dict[str, np.ndarray]:
        """Paste the faces; frames without a face are unchanged.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            affine_matrices: float32 [F, 2, 3]; NaN for frames without a face.
            synced_faces: float32 RGB [faces, R, R, 3], about -1 to 1.

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3].

        Raises:
            ValueError: The number of faces is not the number of finite matrices.
        """
        synced_frames = frames.copy()
        seen = has_face(affine_matrices)
        if seen.sum() != len(synced_faces):
            raise ValueError(f"synced_faces: expected {seen.sum()}, one for each matrix, got {len(synced_faces)}")
        synced_frames[seen] = composite_faces(frames[seen], synced_faces, affine_matrices[seen])
        return {"synced_frames": synced_frames}
