"""Pastes the faces from the Wav2Lip generator back into their frames."""

import cv2
import numpy as np

from lipsync_core.triton.step import TritonStep
from lipsync_core.wav2lip.faces import paste_faces


class TritonPythonModel(TritonStep):
    """Paste one generated face into each frame."""

    def setup(self) -> None:
        """Use one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)

    def run(
        self, frames: np.ndarray, face_boxes: np.ndarray, drawn: np.ndarray, hard_box: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Blend the faces, or fill the whole box.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            face_boxes: float32 [F, 4]; NaN for frames without a face.
            drawn: float32 [F, 3, 96, 96], generated faces, BGR 0 to 1.
            hard_box: bool [1], whether to fill the whole box.

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3].
        """
        hard = hard_box is not None and bool(hard_box[0])
        return {"synced_frames": paste_faces(frames, face_boxes, drawn, hard_box=hard)}
