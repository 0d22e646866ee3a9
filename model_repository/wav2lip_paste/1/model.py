"""Puts the faces that the Wav2Lip generator drew back into their frames."""

import cv2
import numpy as np

from lipsync_core.triton.step import TritonStep
from lipsync_core.wav2lip.faces import paste_faces


class TritonPythonModel(TritonStep):
    """Paste one drawn face into each frame."""

    def setup(self) -> None:
        """Keep to one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)

    def run(
        self, frames: np.ndarray, face_boxes: np.ndarray, drawn: np.ndarray, hard_box: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Blend, unless the hard box was asked for."""
        hard = hard_box is not None and bool(hard_box[0])
        return {"synced_frames": paste_faces(frames, face_boxes, drawn, hard_box=hard)}
