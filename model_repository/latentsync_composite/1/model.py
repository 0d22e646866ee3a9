"""Pastes generated faces back into their frames."""

import numpy as np

from lipsync_core.latentsync.alignment import has_face
from lipsync_core.latentsync.composite import composite_faces
from lipsync_core.triton.picture_step import PictureStep


class TritonPythonModel(PictureStep):
    """Paste one generated face into each frame that has one."""

    def run(
        self, frames: np.ndarray, affine_matrices: np.ndarray, synced_faces: np.ndarray, face_strengths: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Paste the faces; frames without a face, and those of strength 0, are unchanged.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            affine_matrices: float32 [F, 2, 3]; NaN for frames without a face.
            synced_faces: float32 RGB [faces, R, R, 3], about -1 to 1.
            face_strengths: float32 [F], how much of each face is shown, 0 to 1.

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3].

        Raises:
            ValueError: The number of faces is not the number of finite matrices.
        """
        synced_frames = frames.copy()
        seen = has_face(affine_matrices)
        if seen.sum() != len(synced_faces):
            raise ValueError(f"synced_faces: expected {seen.sum()}, one for each matrix, got {len(synced_faces)}")
        strengths = face_strengths[seen]
        synced_frames[seen] = composite_faces(frames[seen], synced_faces, affine_matrices[seen], strengths)
        return {"synced_frames": synced_frames}
