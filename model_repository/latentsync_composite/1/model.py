"""Puts drawn faces back into their frames."""

import cv2
import numpy as np

from lipsync_core.latentsync.alignment import has_face
from lipsync_core.latentsync.composite import composite_faces
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Paste one drawn face into each frame that has one."""

    def setup(self) -> None:
        """Keep to one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)

    def run(self, frames: np.ndarray, affine_matrices: np.ndarray, synced_faces: np.ndarray) -> dict[str, np.ndarray]:
        """Leave frames without a face as they are."""
        synced_frames = frames.copy()
        seen = has_face(affine_matrices)
        if seen.sum() != len(synced_faces):
            raise ValueError(f"synced_faces: expected {seen.sum()}, one for each matrix, got {len(synced_faces)}")
        synced_frames[seen] = composite_faces(frames[seen], synced_faces, affine_matrices[seen])
        return {"synced_frames": synced_frames}
